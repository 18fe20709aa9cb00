"""The event types that projections handle, and the schemas of their `data`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from headrace.events.envelope import EnvelopeError, ParsedEvent
from headrace.events.misfit_pointer import detail_of, pointer_to_misfit
from headrace.projection import Projection

# An event without `data` is valid for a type whose members are all optional.
NO_DATA = b"{}"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class KnownType(msgspec.Struct, frozen=True):
    """An event type that a projection handles."""

    type: str
    needs_subject: bool
    """Whether an event without `subject` is refused."""
    schema: dict[str, Any]
    """The JSON Schema (2020-12) of `data`. An event without `data` is read as if it were `{}`."""


class EventTypes:
    """Checks events against the types that projections declare for their `data`."""

    def __init__(self, projections: Iterable[Projection[Any]], *, refuse_unknown: bool = False) -> None:
        self._refuse_unknown = refuse_unknown
        # A dict as an ordered set: the types in the order in which projections name them.
        data_types: dict[str, dict[Any, None]] = {}
        for projection in projections:
            for event_type, subscription in projection.by_type.items():
                data_types.setdefault(event_type, {})[subscription.data] = None
        self._decoders = {
            event_type: [msgspec.json.Decoder(data) for data in types] for event_type, types in data_types.items()
        }
        self._need_subject = {
            event_type
            for event_type, types in data_types.items()
            if any(getattr(data, "needs_subject", False) for data in types)
        }

        self.known = {
            event_type: KnownType(event_type, event_type in self._need_subject, _schema(list(types)))
            for event_type, types in sorted(data_types.items())
        }
        """By event type, sorted."""

    def errors(self, event: ParsedEvent) -> tuple[EnvelopeError, ...]:
        """The errors of the event for its type; empty when it is valid."""
        decoders = self._decoders.get(event.type)
        if decoders is None:
            if self._refuse_unknown:
                return (
                    EnvelopeError(
                        "/type", "unknown_type", "no projection declares this type, and UNKNOWN_TYPES=reject"
                    ),
                )
            return ()
        if event.subject is None and event.type in self._need_subject:
            return (EnvelopeError("/subject", "missing_subject", "an event of this type needs a subject"),)
        data = NO_DATA if event.data is None else event.data
        for decoder in decoders:
            try:
                decoder.decode(data)
            except Exception as error:  # noqa: BLE001 - also what a user's data type raises: no data ends a worker
                return (_misfit(error, bytes(data), decoder.decode),)
        return ()


def _misfit(error: Exception, data: bytes, check: Callable[[bytes], object]) -> EnvelopeError:
    """Besides a ValidationError there is, for example, an OverflowError for a number that a type cannot hold."""
    if isinstance(error, msgspec.ValidationError):
        pointer, detail = pointer_to_misfit(str(error), data, check), detail_of(str(error))
    else:
        pointer, detail = "/data", f"cannot be read as data of this type ({type(error).__name__})"
    return EnvelopeError(pointer, "invalid_data", detail)


def _schema(data_types: Sequence[Any]) -> dict[str, Any]:
    """The schema of an event type: its data must be valid for every projection that handles it."""
    schemas, definitions = msgspec.json.schema_components(data_types, ref_template="#/$defs/{name}")
    schema = schemas[0] if len(schemas) == 1 else {"allOf": list(schemas)}
    return {"$schema": DIALECT, **schema, "$defs": definitions}
