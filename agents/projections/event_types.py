"""The projection `event_types`: counts all events, of known and unknown types, by type."""

from __future__ import annotations

import msgspec

from headrace.events.rfc3339 import earlier, instant, later
from headrace.projection import Event, FedBy, Field, Projection


class EventType(msgspec.Struct, frozen=True):
    """The events of one type: their number, and their earliest and latest time."""

    count: int
    first_time: str
    last_time: str


event_types = Projection(
    "event_types",
    state=EventType,
    key=lambda event: event.type,
    fed_by=lambda key: FedBy(types=[key]),
    description="Each event type: number of events, earliest and latest time.",
    fields={"count": Field("number"), "first_time": Field("time"), "last_time": Field("time")},
)


# Events of a type come from several partitions, which are applied in no fixed order. So the result must not depend on
# the order: of two texts for the same instant, the smaller (or greater) text is kept.
@event_types.on_every_other_event
def counted(known: EventType | None, event: Event[msgspec.Raw]) -> EventType:
    """Count the event and widen the range of times."""
    if known is None:
        return EventType(1, event.time, event.time)
    return EventType(
        known.count + 1,
        earlier(known.first_time, event.time, _order),
        later(known.last_time, event.time, _order),
    )


def _order(time: str) -> tuple[str, str]:
    return instant(time), time
