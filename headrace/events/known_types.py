"""The event types that projections handle, and the schemas of their `data`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from headrace.events.data_decoder import DataDecoder, RecognisedShape
from headrace.events.envelope import EnvelopeError, ParsedEvent
from headrace.events.misfit_pointer import detail_of, pointer_to_member, pointer_to_misfit
from headrace.old_shapes import Way, name_of, ways
from headrace.projection import Projection

# An event without `data` is valid for a type whose members are all optional.
NO_DATA = b"{}"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class OldShapeSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """An older shape of `data`, which is still read. The conditions that are present must hold."""

    schema: dict[str, Any]
    """The JSON Schema (2020-12) of such data."""
    has: str | None = None
    """Data with this member has this shape."""
    dataschema: str | None = None
    """Data of events whose attribute `dataschema` is equal has this shape."""


class KnownType(msgspec.Struct, frozen=True):
    """An event type that a projection handles."""

    type: str
    needs_subject: bool
    """Whether an event without `subject` is refused."""
    schema: dict[str, Any]
    """The JSON Schema (2020-12) of `data`. An event without `data` is read as if it were `{}`."""
    old_shapes: list[OldShapeSchema]
    """The older shapes that projections convert, in the order in which they are tried. New events may have them only
    where `OLD_SHAPES=accept`."""


class _Envelope(msgspec.Struct):
    dataschema: str | None = None


_envelope = msgspec.json.Decoder(_Envelope)


class EventTypes:
    """Checks events against the types that projections declare for their `data`."""

    def __init__(
        self, projections: Iterable[Projection[Any]], *, refuse_unknown: bool = False, accept_old_shapes: bool = False
    ) -> None:
        self._refuse_unknown = refuse_unknown
        self._accept_old_shapes = accept_old_shapes
        # A dict as an ordered set: the types in the order in which projections name them.
        data_types: dict[str, dict[Any, None]] = {}
        for projection in projections:
            for event_type, subscription in projection.by_type.items():
                data_types.setdefault(event_type, {})[subscription.data] = None
        old_shapes = {
            event_type: [way for data in types for way in ways(data, event_type)]
            for event_type, types in data_types.items()
        }
        self._decoders = {
            event_type: [msgspec.json.Decoder(data) for data in types]
            for event_type, types in data_types.items()
            if not old_shapes[event_type]
        }
        self._shaped = {
            event_type: [DataDecoder(data, event_type) for data in types]
            for event_type, types in data_types.items()
            if old_shapes[event_type]
        }
        self._need_subject = {
            event_type
            for event_type, types in data_types.items()
            if any(getattr(data, "needs_subject", False) for data in types)
        }

        self.known = {
            event_type: KnownType(
                event_type,
                event_type in self._need_subject,
                _schema(list(types)),
                _described(old_shapes[event_type]),
            )
            for event_type, types in sorted(data_types.items())
        }
        """By event type, sorted."""

    def errors(self, event: ParsedEvent) -> tuple[EnvelopeError, ...]:
        """The errors of the event for its type; empty when it is valid."""
        decoders = self._decoders.get(event.type)
        if decoders is None:
            return self._errors_of_other(event)
        if event.subject is None and event.type in self._need_subject:
            return (_NO_SUBJECT,)
        data = NO_DATA if event.data is None else event.data
        for decoder in decoders:
            try:
                decoder.decode(data)
            except Exception as error:  # noqa: BLE001 - also what a user's data type raises: no data ends a worker
                return (_misfit(error, bytes(data), decoder.decode),)
        return ()

    def _errors_of_other(self, event: ParsedEvent) -> tuple[EnvelopeError, ...]:
        """Of an event whose type has older shapes, or is unknown."""
        shaped = self._shaped.get(event.type)
        if shaped is None:
            return (_UNKNOWN_TYPE,) if self._refuse_unknown else ()
        if event.subject is None and event.type in self._need_subject:
            return (_NO_SUBJECT,)
        data = NO_DATA if event.data is None else bytes(event.data)
        asks = any(decoder.asks_dataschema for decoder in shaped)
        dataschema = _envelope.decode(event.text).dataschema if asks else None
        errors = (self._shape_error(decoder, data, dataschema) for decoder in shaped)
        return next(((error,) for error in errors if error is not None), ())

    def _shape_error(self, decoder: DataDecoder, data: bytes, dataschema: str | None) -> EnvelopeError | None:
        """What is wrong with data that may have an older shape. It is not converted here: the fold does that."""
        shape = decoder.shape(data, dataschema)
        old_error = None if shape is None else self._old_shape_error(decoder, shape, data)
        if shape is not None and old_error is None:
            return None
        # The error names what the newest shape lacks, because that is what clients should send.
        return _error(decoder, None, data) or old_error

    def _old_shape_error(self, decoder: DataDecoder, shape: RecognisedShape, data: bytes) -> EnvelopeError | None:
        if self._accept_old_shapes:
            return _error(decoder, shape, data)
        old = shape.way.old
        pointer = "/dataschema" if old.has is None else pointer_to_member(old.has)
        detail = f"such data is read as its older shape {name_of(old.shape)}, which OLD_SHAPES=refuse refuses"
        return EnvelopeError(pointer, "invalid_data", detail)


_NO_SUBJECT = EnvelopeError("/subject", "missing_subject", "an event of this type needs a subject")
_UNKNOWN_TYPE = EnvelopeError("/type", "unknown_type", "no projection declares this type, and UNKNOWN_TYPES=reject")


def _error(decoder: DataDecoder, shape: RecognisedShape | None, data: bytes) -> EnvelopeError | None:
    def check(other: bytes) -> None:
        decoder.check(shape, other)

    try:
        check(data)
    except Exception as error:  # noqa: BLE001 - as above
        return _misfit(error, data, check)
    return None


def _misfit(error: Exception, data: bytes, check: Callable[[bytes], object]) -> EnvelopeError:
    """Besides a ValidationError there is, for example, an OverflowError for a number that a type cannot hold."""
    if isinstance(error, msgspec.ValidationError):
        pointer, detail = pointer_to_misfit(str(error), data, check), detail_of(str(error))
    else:
        pointer, detail = "/data", f"cannot be read as data of this type ({type(error).__name__})"
    return EnvelopeError(pointer, "invalid_data", detail)


def _described(found: Iterable[Way]) -> list[OldShapeSchema]:
    """Each shape once, although several projections may convert it."""
    conditions = dict.fromkeys((way.old.shape, way.old.has, way.old.dataschema) for way in found)
    return [OldShapeSchema(_schema([shape]), has, dataschema) for shape, has, dataschema in conditions]


def _schema(data_types: Sequence[Any]) -> dict[str, Any]:
    """The schema of an event type: its data must be valid for every projection that handles it."""
    schemas, definitions = msgspec.json.schema_components(data_types, ref_template="#/$defs/{name}")
    schema = schemas[0] if len(schemas) == 1 else {"allOf": list(schemas)}
    return {"$schema": DIALECT, **schema, "$defs": definitions}
