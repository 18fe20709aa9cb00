"""`event_store` as event handlers and the relay read it: events between two positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headrace.events.topic_record import PastEvent
from tables.database import AnyConnection
from tables.history.readable_events import fetch_events, past_events

MAX_BYTES = 8 * 1024 * 1024
"""Of the events that are read together, unless it is a single event."""
READ = """
SELECT position, partition, text
FROM (
    SELECT position, partition, text,
           sum(octet_length(text)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING)
               - octet_length(text) AS bytes_before
    FROM (
        SELECT position, partition, event::text AS text FROM event_store
        WHERE position > $1 AND position < $2 AND ($3::integer IS NULL OR partition = $3)
        ORDER BY position LIMIT $4
    ) AS next
) AS page
WHERE coalesce(bytes_before, 0) < $5
ORDER BY position
"""
LAST_POSITION = "SELECT last_position FROM relay_state"
READ_PARTITIONS = """
SELECT position, partition, event::text AS text FROM event_store
WHERE position > $1 AND position < $2 AND partition = ANY ($3::integer[])
ORDER BY position LIMIT $4
"""
STORED_UP_TO = "SELECT partition, last_position, previous_position FROM topic_partitions"


async def read(
    connection: AnyConnection, *, after: int, before: int, partition: int | None = None, at_most: int
) -> list[PastEvent]:
    """At most `at_most` events strictly between two positions, in order; of one partition, or of all if it is None.

    Fewer if they exceed `MAX_BYTES`, or if one cannot be read (see `fetch_events`); at least one if there is any.
    """
    return past_events(await fetch_events(connection, READ, after, before, partition, at_most, MAX_BYTES))


async def last_position(connection: AnyConnection) -> int:
    """The position of the newest event; 0 if there is none."""
    position: int = await connection.fetchval(LAST_POSITION)
    return position


class StoredUpTo(NamedTuple):
    """The newest positions stored for a partition."""

    last: int
    """The position of its newest event."""
    previous: int
    """The same before the last relay round that had events of the partition."""


async def stored_up_to(connection: AnyConnection) -> dict[int, StoredUpTo]:
    """The newest positions of each partition that has events."""
    return {partition: StoredUpTo(*positions) for partition, *positions in await connection.fetch(STORED_UP_TO)}


async def read_partitions(
    connection: AnyConnection, partitions: Sequence[int], *, after: int, before: int, at_most: int
) -> list[PastEvent]:
    """At most `at_most` events of these partitions strictly between two positions, in order."""
    found = await fetch_events(connection, READ_PARTITIONS, after, before, partitions, at_most)
    return past_events(found)
