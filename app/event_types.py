"""The event types that the app knows, from its projections: what their `data` must look like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from app.envelope import EnvelopeError, Event
from app.projection import Projection

# An event without `data` has none of its members: enough for a type whose members are all optional.
NO_DATA = b"{}"


class EventTypes:
    """Checks events against the types that projections declare for their `data`."""

    def __init__(self, projections: Iterable[Projection[Any]], *, refuse_unknown: bool = False) -> None:
        self._refuse_unknown = refuse_unknown
        data_types: dict[str, set[Any]] = {}
        for projection in projections:
            for event_type, subscription in projection.by_type.items():
                data_types.setdefault(event_type, set()).add(subscription.data)
        self._decoders = {
            event_type: [msgspec.json.Decoder(data) for data in types] for event_type, types in data_types.items()
        }
        self._need_subject = {
            event_type
            for event_type, types in data_types.items()
            if any(getattr(data, "needs_subject", False) for data in types)
        }

    def errors(self, event: Event) -> tuple[EnvelopeError, ...]:
        """What is wrong with the event for its type; empty when nothing is."""
        decoders = self._decoders.get(event.type)
        if decoders is None:
            if self._refuse_unknown:
                return (
                    EnvelopeError("/type", "unknown_type", "no projection knows this type, and UNKNOWN_TYPES=reject"),
                )
            return ()
        if event.subject is None and event.type in self._need_subject:
            return (EnvelopeError("/subject", "missing_subject", "an event of this type needs a subject"),)
        data = NO_DATA if event.data is None else event.data
        for decoder in decoders:
            try:
                decoder.decode(data)
            except msgspec.ValidationError as error:
                return (EnvelopeError(_pointer(str(error)), "invalid_data", str(error).split(" - at ")[0]),)
        return ()


def _pointer(message: str) -> str:
    """A JSON pointer from the path at the end of msgspec's message ("… - at `$.metric`")."""
    path = message.rpartition(" - at `$")[2].removesuffix("`") if " - at `$" in message else ""
    return "/data" + path.replace("[...]", "").replace("[", "/").replace("]", "").replace(".", "/")
