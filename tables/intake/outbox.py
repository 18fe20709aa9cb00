"""`outbox`: accepted events that are not yet both stored and published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headrace.events import rfc3339
from headrace.events.envelope import ParsedEvent
from headrace.events.partition_key import key_hash
from headrace.process.turns import off_the_loop
from tables.database import AnyConnection, Connection
from tables.lock_keys import TRY_LOCK

# $10 is NULL where all events are small: then their digests, which are empty, are made here.
ACCEPT = """
SELECT index, same
FROM outbox_accept_group(
    $1::text[], $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10, array_fill(''::bytea, ARRAY[cardinality($1)])), $11
)
"""
COMPARE = "SELECT index, same FROM events_are_same($1, $2, $3, $4)"
# Shorter events have no digest: comparing them costs little more than finding them.
SMALL_CHARACTERS = 8_000
# Channels belong to a database, which may hold several installations: the payload says whose outbox it is.
NOTIFY = "SELECT pg_notify('headrace_outbox', current_schema()::text)"
CHANNEL = "headrace_outbox"
OWN_SCHEMA = "SELECT current_schema()::text"
# The limits of a round, which is held in memory here and in the database.
MAX_ROUND_EVENTS = 10_000
MAX_ROUND_BYTES = 16_000_000


Callers = Sequence[str | None] | None
"""Who sent each of some events; None if nobody is known."""


async def accept(
    connection: AnyConnection, events: Sequence[ParsedEvent], callers: Callers = None
) -> dict[int, bool | None]:
    """Write new events in one statement and one commit.

    Each (source, id) may occur only once, unless it was accepted earlier. Return, for each event that is already known,
    its index and whether its content is the same; None where only `compare` can tell. All others are new and now
    durable.
    """
    large = sum(len(event.text) for event in events if len(event.text) > SMALL_CHARACTERS)
    digests = await off_the_loop(lambda: [digest(event) for event in events], large) if large else None
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
        digests,
        callers,
    )
    return {row["index"] - 1: row["same"] for row in rows}


async def compare(connection: AnyConnection, events: Sequence[ParsedEvent]) -> dict[int, bool]:
    """For each event that is known, its index and whether its content is the same; reads the known documents."""
    rows = await connection.fetch(
        COMPARE,
        [event.id for event in events],
        [event.source for event in events],
        [event.time_given for event in events],
        [event.text for event in events],
    )
    return {row["index"] - 1: row["same"] for row in rows}


def digest(event: ParsedEvent) -> bytes:
    """SHA-256 of a large event as it was sent, without a time that the sender did not give; empty if it is small."""
    text = event.text
    if len(text) <= SMALL_CHARACTERS:
        return b""
    if not event.time_given:
        text = text[: text.rindex(',"time":"')]
    return hashlib.sha256(text.encode()).digest()


async def wake_relay(connection: AnyConnection) -> None:
    """Notify the relay, in whichever worker it runs, of new rows. Only a hint: the relay also polls."""
    await connection.execute(NOTIFY)


async def on_new_rows(connection: Connection, wake_up: Callable[[], None]) -> None:
    """LISTEN: call `wake_up` at each notification of another worker of this installation."""
    own = await connection.fetchval(OWN_SCHEMA)

    def notified(*notification: object) -> None:
        if notification[-1] in (own, ""):  # empty: from a worker of an earlier version
            wake_up()

    await connection.add_listener(CHANNEL, notified)


async def try_lock(connection: AnyConnection, key: int) -> bool:
    """Acquire a lock of this installation until the connection ends; return False if another session holds it."""
    taken: bool = await connection.fetchval(TRY_LOCK, key)
    return taken


class StoredEvent(NamedTuple):
    """An event of the outbox that is stored and has its position."""

    seq: int
    position: int
    partition: int
    partition_key: str
    text: str


# One statement, so one snapshot and one commit: deletes the rows of the last round and gives the next rows positions.
# $1: the published rows, $2: the maximum number of rows, $3: the number of partitions, $4: the maximum number of bytes,
# which the last row may exceed.
STORE_NEXT = """
WITH published AS (
    DELETE FROM outbox WHERE seq = ANY ($1::bigint[])
),
waiting AS MATERIALIZED (
    SELECT seq, id, source, event_type, subject, event_time, received_at, partition_key, event, content_digest,
           received_by, partition, place
    FROM (
        SELECT o.*, (o.key_hash % $3)::integer AS partition, row_number() OVER earlier AS place,
               sum(octet_length(o.event::text)) OVER earlier - octet_length(o.event::text) AS bytes_before
        FROM outbox AS o
        WHERE o.seq <> ALL ($1::bigint[])
        WINDOW earlier AS (ORDER BY o.seq ROWS UNBOUNDED PRECEDING)
        ORDER BY o.seq
        LIMIT $2
    ) AS next
    WHERE bytes_before < $4
),
counter AS (
    UPDATE relay_state SET last_position = last_position + (SELECT count(*) FROM waiting)
    WHERE EXISTS (SELECT FROM waiting)
    RETURNING last_position - (SELECT count(*) FROM waiting) AS before
),
stored AS (
    INSERT INTO event_store
        (position, id, source, event_type, subject, event_time, received_at, partition, event, content_digest,
         received_by)
    SELECT counter.before + w.place, w.id, w.source, w.event_type, w.subject, w.event_time, w.received_at,
           w.partition, w.event::jsonb, w.content_digest, w.received_by
    FROM waiting AS w CROSS JOIN counter
    ORDER BY w.place
),
partitions AS (
    INSERT INTO topic_partitions (partition, last_position)
    SELECT w.partition, max(counter.before + w.place) FROM waiting AS w CROSS JOIN counter GROUP BY w.partition
    ON CONFLICT (partition) DO UPDATE
        SET last_position = excluded.last_position, previous_position = topic_partitions.last_position
)
SELECT w.seq, counter.before + w.place AS position, w.partition, w.partition_key, w.event::text AS text
FROM waiting AS w CROSS JOIN counter
ORDER BY w.place
"""

# Rows that an earlier relay stored and perhaps published: they keep their positions and are published first. The search
# starts at the end of the event store, because the outbox may have a million rows, but at most one round is stored.
STORED_BEFORE = """
SELECT o.seq, s.position, s.partition, o.partition_key, o.event::text AS text
FROM event_store AS s
CROSS JOIN LATERAL (
    SELECT seq, partition_key, event FROM outbox WHERE outbox.source = s.source AND outbox.id = s.id LIMIT 1
) AS o
WHERE s.position > (SELECT last_position FROM relay_state) - $1
ORDER BY s.position
LIMIT $2
"""
DELETE = "DELETE FROM outbox WHERE seq = ANY ($1::bigint[])"


async def store_next(
    connection: AnyConnection,
    published: Sequence[int],
    *,
    at_most: int,
    partitions: int,
    at_most_bytes: int = MAX_ROUND_BYTES,
) -> list[StoredEvent]:
    """Delete the rows `published`, store the next rows with the next positions, and return these, in order.

    The last of them may exceed `at_most_bytes`. All in one commit. Only the active relay may call this, on the
    connection that holds its lock.
    """
    rows = await connection.fetch(STORE_NEXT, published, at_most, partitions, at_most_bytes)
    return [StoredEvent(*row) for row in rows]


async def stored_before(
    connection: AnyConnection, *, within_last: int = MAX_ROUND_EVENTS, at_most: int
) -> list[StoredEvent]:
    """The outbox rows that are already stored, within the last `within_last` positions, in order of position."""
    rows = await connection.fetch(STORED_BEFORE, within_last, at_most)
    return [StoredEvent(*row) for row in rows]


async def delete(connection: AnyConnection, published: Sequence[int]) -> None:
    """Delete the rows with these `seq`, which must be stored and published."""
    await connection.execute(DELETE, published)
