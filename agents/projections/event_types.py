"""The projection `event_types`: every event, known or not, counted by its type."""

from __future__ import annotations

import msgspec

from headrace.events.rfc3339 import instant
from headrace.projection import Event, FedBy, Field, Projection


class EventType(msgspec.Struct, frozen=True):
    """The events of one type; the times are the least and the greatest of theirs."""

    count: int
    first_time: str
    last_time: str


event_types = Projection(
    "event_types",
    state=EventType,
    key=lambda event: event.type,
    fed_by=lambda key: FedBy(types=[key]),
    description="Each event type: how many events, and their first and last time.",
    fields={"count": Field("number"), "first_time": Field("time"), "last_time": Field("time")},
)


# A type's events come from several partitions, and those are applied in no fixed order among each other: whatever is
# kept here must come out the same in any order. So of two texts for the same instant the lesser or greater text counts.
@event_types.on_every_other_event
def counted(known: EventType | None, event: Event[msgspec.Raw]) -> EventType:
    """Count the event."""
    if known is None:
        return EventType(1, event.time, event.time)
    return EventType(
        known.count + 1,
        min(known.first_time, event.time, key=_order),
        max(known.last_time, event.time, key=_order),
    )


def _order(time: str) -> tuple[str, str]:
    return instant(time), time
