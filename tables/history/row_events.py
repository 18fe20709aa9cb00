"""`event_store` as it is read to recompute an earlier state of a row: the events that may have fed it, in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from headrace.events.topic_record import PastEvent
from tables.bounded import MAX_READ_BYTES, bounded
from tables.database import AnyConnection

# Parked and discarded events are not in the row.
EVENTS = """
SELECT e.position, e.partition, event_as_text(e.event) AS text, e.recorded_at
FROM event_store AS e
WHERE {between}
  AND ($5::text IS NULL OR e.event_time >= $5::text::timestamptz)
  AND ($6::text IS NULL OR e.event_time <= $6::text::timestamptz)
  AND NOT EXISTS (SELECT FROM parked WHERE parked.projection = $1 AND parked.position = e.position)
  AND NOT EXISTS (SELECT FROM discarded WHERE discarded.projection = $1 AND discarded.position = e.position)
ORDER BY {order} LIMIT $4
"""
EACH = """
SELECT found.position, found.partition, found.text, found.recorded_at
FROM unnest($7::text[]) AS asked (value)
CROSS JOIN LATERAL ({events}) AS found
ORDER BY found.position LIMIT $4
"""
# A range of pairs instead of an equality: it forces the planner to scan the index on both columns, however frequent it
# estimates the value to be.
PAIRS = "({column}, e.position) > (asked.value, $2::bigint) AND ({column}, e.position) <= (asked.value, $3::bigint)"
_ALL_EVENTS = EVENTS.format(between="e.position > $2 AND e.position <= $3", order="e.position")
_OF_SUBJECTS = EACH.format(
    events=EVENTS.format(
        between=PAIRS.format(column="e.subject") + " AND ($8::text[] IS NULL OR e.event_type = ANY ($8::text[]))",
        order="e.subject, e.position",
    )
)
_OF_TYPES = EACH.format(
    events=EVENTS.format(between=PAIRS.format(column="e.event_type"), order="e.event_type, e.position")
)
_COLUMNS = "position, partition, text, recorded_at"


def _bounded(statement: str, limit: str) -> str:
    return bounded(statement, _COLUMNS, size="octet_length(text)", order="position", limit=limit)


ALL_EVENTS = _bounded(_ALL_EVENTS, "$7")
OF_TYPES = _bounded(_OF_TYPES, "$8")
OF_SUBJECTS = _bounded(_OF_SUBJECTS, "$9")


class FeedingEvent(NamedTuple):
    """An event, and when it was stored."""

    event: PastEvent
    recorded_at: datetime


class Feeding(NamedTuple):
    """Which events may have fed a row; None means no restriction."""

    subjects: Sequence[str] | None
    types: Sequence[str] | None
    times: tuple[str, str] | None
    """The first and the last event time, inclusive, RFC 3339 in UTC."""


async def read_feeding(
    connection: AnyConnection, projection: str, feeding: Feeding, *, after: int, up_to: int, at_most: int
) -> list[FeedingEvent]:
    """At most `at_most` events that may have fed a row, in order: after `after`, up to and including `up_to`.

    Parked and discarded events are left out. Fewer events if they exceed `MAX_READ_BYTES`, but at least one if there is
    any.
    """
    arguments: list[object] = [projection, after, up_to, at_most, *(feeding.times or (None, None))]
    statement = ALL_EVENTS
    if feeding.subjects is not None:
        statement = OF_SUBJECTS
        arguments += [feeding.subjects, feeding.types]
    elif feeding.types is not None:
        statement = OF_TYPES
        arguments.append(feeding.types)
    return [
        FeedingEvent(PastEvent(*event), recorded_at)
        for *event, recorded_at in await connection.fetch(statement, *arguments, MAX_READ_BYTES)
    ]
