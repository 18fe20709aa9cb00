"""`outbox`: accepted events that are not yet both stored and published."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from app import rfc3339
from app.envelope import Event
from tables.database import AnyConnection

ACCEPT = "SELECT index, same FROM outbox_accept($1, $2, $3, $4, $5, $6, $7, $8, $9)"
DEPTH = "SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) AS waiting"
NOTIFY = "SELECT pg_notify('headrace_outbox', '')"
CHANNEL = "headrace_outbox"
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"


async def accept(connection: AnyConnection, events: Sequence[Event]) -> dict[int, bool]:
    """Write new events in one statement and one commit.

    Each (source, id) may be there once. Returns, for each event that was already here, its index and whether the
    content is the same; all others are new and now durable.
    """
    rows = await connection.fetch(
        ACCEPT,
        [event.id for event in events],
        [event.source for event in events],
        [event.type for event in events],
        [event.subject for event in events],
        [rfc3339.to_microseconds(event.time) for event in events],
        [event.time_given for event in events],
        [event.partition_key for event in events],
        [key_hash(event.partition_key) for event in events],
        [event.text for event in events],
    )
    return {row["index"] - 1: row["same"] for row in rows}


def key_hash(partition_key: str) -> int:
    """CRC-32, as librdkafka's `consistent` partitioner: modulo the number of partitions it is the partition."""
    return zlib.crc32(partition_key.encode())


async def wake_relay(connection: AnyConnection) -> None:
    """Tell the relay, in whichever worker it is, that the outbox has something. A hint: the relay looks anyway."""
    await connection.execute(NOTIFY)


async def try_lock(connection: AnyConnection, key: int) -> bool:
    """Take the relay's lock for as long as the connection lives; False when another relay has it."""
    taken: bool = await connection.fetchval(TRY_LOCK, key)
    return taken


async def depth(connection: AnyConnection, at_most: int) -> int:
    """How many events wait, counted up to `at_most`."""
    count: int = await connection.fetchval(DEPTH, at_most)
    return count


class StoredEvent(NamedTuple):
    """An event of the outbox that has its position."""

    seq: int
    position: int
    partition: int
    partition_key: str
    text: str


# One statement, so one snapshot and one commit: what the last round published goes, what waits gets positions.
# $1 the rows that are published, $2 the most rows to take, $3 the number of partitions.
STORE_NEXT = """
WITH published AS (
    DELETE FROM outbox WHERE seq = ANY ($1::bigint[])
),
waiting AS MATERIALIZED (
    SELECT o.seq, o.id, o.source, o.event_type, o.subject, o.event_time, o.received_at, o.partition_key, o.event,
           (o.key_hash % $3)::integer AS partition, row_number() OVER (ORDER BY o.seq) AS place
    FROM outbox AS o
    WHERE o.seq <> ALL ($1::bigint[])
    ORDER BY o.seq
    LIMIT $2
),
counter AS (
    UPDATE relay_state SET last_position = last_position + (SELECT count(*) FROM waiting)
    WHERE EXISTS (SELECT FROM waiting)
    RETURNING last_position - (SELECT count(*) FROM waiting) AS before
),
stored AS (
    INSERT INTO event_store
        (position, id, source, event_type, subject, event_time, received_at, partition, event)
    SELECT counter.before + w.place, w.id, w.source, w.event_type, w.subject, w.event_time, w.received_at,
           w.partition, w.event::jsonb
    FROM waiting AS w CROSS JOIN counter
    ORDER BY w.place
),
partitions AS (
    INSERT INTO topic_partitions (partition, last_position)
    SELECT w.partition, max(counter.before + w.place) FROM waiting AS w CROSS JOIN counter GROUP BY w.partition
    ON CONFLICT (partition) DO UPDATE SET last_position = excluded.last_position
)
SELECT w.seq, counter.before + w.place AS position, w.partition, w.partition_key, w.event::text AS text
FROM waiting AS w CROSS JOIN counter
ORDER BY w.place
"""

# What an earlier relay stored and perhaps published: it keeps its positions and goes first.
STORED_BEFORE = """
SELECT o.seq, s.position, s.partition, o.partition_key, o.event::text AS text
FROM outbox AS o
JOIN event_store AS s ON s.source = o.source AND s.id = o.id
ORDER BY s.position
LIMIT $1
"""
DELETE = "DELETE FROM outbox WHERE seq = ANY ($1::bigint[])"


async def store_next(
    connection: AnyConnection, published: Sequence[int], *, at_most: int, partitions: int
) -> list[StoredEvent]:
    """Delete the rows `published`, store the next ones with the next positions, and return those, in order.

    One commit. Only the active relay may call it, on the connection that holds the relay's lock.
    """
    rows = await connection.fetch(STORE_NEXT, published, at_most, partitions)
    return [StoredEvent(*row) for row in rows]


async def stored_before(connection: AnyConnection, *, at_most: int) -> list[StoredEvent]:
    """The rows that are already stored, in order of position."""
    rows = await connection.fetch(STORED_BEFORE, at_most)
    return [StoredEvent(*row) for row in rows]


async def delete(connection: AnyConnection, published: Sequence[int]) -> None:
    """Delete rows that are stored and published."""
    await connection.execute(DELETE, published)
