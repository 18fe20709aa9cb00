"""`event_store` as event handlers and the relay read it: events between two positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headrace.events.topic_record import PastEvent
from tables.database import AnyConnection

MAX_BYTES = 8 * 1024 * 1024
"""Of the events that are read together, unless it is a single event."""
READ = """
SELECT position, partition, text
FROM (
    SELECT position, partition, text,
           sum(octet_length(text)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING)
               - octet_length(text) AS bytes_before
    FROM (
        SELECT position, partition, event_as_text(event) AS text FROM event_store
        WHERE position > $1 AND position < $2 AND ($3::integer IS NULL OR partition = $3)
        ORDER BY position LIMIT $4
    ) AS next
) AS page
WHERE bytes_before < $5
ORDER BY position
"""
LAST_POSITION = "SELECT last_position FROM relay_state"
READ_PARTITIONS = """
SELECT position, partition, event_as_text(event) AS text FROM event_store
WHERE position > $1 AND position < $2 AND partition = ANY ($3::integer[])
ORDER BY position LIMIT $4
"""
STORED_UP_TO = "SELECT partition, last_position, previous_position FROM topic_partitions"


async def read(
    connection: AnyConnection, *, after: int, before: int, partition: int | None = None, at_most: int
) -> list[PastEvent]:
    """At most `at_most` events strictly between two positions, in order; of one partition, or of all if it is None.

    Fewer if they exceed `MAX_BYTES`, but at least one if there is any.
    """
    rows = await connection.fetch(READ, after, before, partition, at_most, MAX_BYTES)
    return [PastEvent(*row) for row in rows]


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
    rows = await connection.fetch(READ_PARTITIONS, after, before, partitions, at_most)
    return [PastEvent(*row) for row in rows]
