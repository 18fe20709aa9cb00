"""Reads what PostgreSQL and the topic hold, as plain data; with statements and a consumer of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import asyncpg
from aiokafka import AIOKafkaConsumer

from tests.checking.history import Discarded, History, Name, Parked, Published, Read, Row, Sent, SetAside, Stored
from tests.checking.independent_fold import COUNTERS

TIMEOUT_SECONDS = 20.0
# Whatever a fault makes the defaults of new sessions, ours have their time, and see the tables.
UNLIMITED = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "search_path": "public",
}
STORED = "SELECT position, source, id, partition, event::text FROM event_store ORDER BY position"
# Of what PostgreSQL cannot write, without its data.
STORED_BUT = """
SELECT position, source, id, partition,
       CASE WHEN source || ' ' || id = ANY ($1::text[]) THEN (event - 'data')::text ELSE event::text END
FROM event_store ORDER BY position
"""
OUTBOX = "SELECT source, id FROM outbox ORDER BY seq"
ROWS = "SELECT projection, key, state::text, position, version FROM projections"
PROGRESS = "SELECT projection, partition, position FROM progress"
PARKED = "SELECT projection, position, key, error, key_is_known FROM parked ORDER BY projection, position"
DISCARDED = "SELECT projection, position, key FROM discarded ORDER BY projection, position"
SET_ASIDE = "SELECT position, published_at IS NOT NULL FROM unpublished ORDER BY position"
LATE = "headrace-late"
# How much is still to be done.
OPEN = """
SELECT (SELECT count(*) FROM outbox) + (
    SELECT count(*)
    FROM unnest($1::text[]) AS asked (projection)
    CROSS JOIN (SELECT partition, max(position) AS head FROM event_store GROUP BY partition) AS heads
    LEFT JOIN progress USING (projection, partition)
    WHERE coalesce(progress.position, 0) < head
)
"""


async def _connect(dsn: str) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(
        dsn, timeout=TIMEOUT_SECONDS, command_timeout=TIMEOUT_SECONDS, server_settings=UNLIMITED
    )


async def settled(dsn: str, seconds: float) -> float | None:
    """Wait until the outbox is empty and every projection has applied all that is stored; how long that took (s).

    None when it did not happen within the time: `check` then names what is stale. PostgreSQL may be away meanwhile.
    """
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        try:
            connection = await _connect(dsn)
            try:
                if not await connection.fetchval(OPEN, list(COUNTERS)):
                    return time.monotonic() - started
            finally:
                connection.terminate()
        except (asyncpg.PostgresError, OSError, TimeoutError):
            pass  # away; asked again below
        await asyncio.sleep(0.1)
    return None


async def read_history(
    dsn: str,
    bootstrap_servers: str,
    topic: str,
    *,
    sent: Sequence[Sent] = (),
    reads: Sequence[Read] = (),
    poison: frozenset[Name] = frozenset(),
    given_up: frozenset[tuple[str, Name]] = frozenset(),
    foreign: frozenset[bytes | None] = frozenset(),
    too_large: frozenset[Name] = frozenset(),
    unreadable: frozenset[Name] = frozenset(),
    is_compacted: bool = False,
    removed: Mapping[int, int] | None = None,
) -> History:
    """Everything that a checker needs, at one moment (the database in one snapshot, the topic after it)."""
    connection = await _connect(dsn)
    without_data = [f"{source} {event_id}" for source, event_id in unreadable]
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            history = History(
                sent=sent,
                stored=[Stored(*row) for row in await connection.fetch(STORED_BUT, without_data)],
                outbox=[(source, id_) for source, id_ in await connection.fetch(OUTBOX)],
                rows=[Row(*row) for row in await connection.fetch(ROWS)],
                progress={(name, part): position for name, part, position in await connection.fetch(PROGRESS)},
                parked=[Parked(*row) for row in await connection.fetch(PARKED)],
                discarded=[Discarded(*row) for row in await connection.fetch(DISCARDED)],
                set_aside=[SetAside(*row) for row in await connection.fetch(SET_ASIDE)],
                reads=reads,
                poison=poison,
                given_up=given_up,
                foreign=foreign,
                too_large=too_large,
                unreadable=unreadable,
                is_compacted=is_compacted,
                removed=removed or {},
            )
    finally:
        await connection.close()
    history.published = await read_topic(bootstrap_servers, topic)
    return history


async def read_topic(bootstrap_servers: str, topic: str) -> list[Published]:
    """Every record from offset 0 up to the end of this moment, by partition; without a consumer group."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap_servers.removeprefix("kafka://"),
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=10_000_000,
    )
    records: list[Published] = []
    async with asyncio.timeout(TIMEOUT_SECONDS * 3):
        await consumer.start()
        try:
            for tp, end in sorted((await consumer.end_offsets(consumer.assignment())).items()):
                while await consumer.position(tp) < end:
                    for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []):
                        is_late = any(name == LATE for name, _ in record.headers)
                        records.append(Published(tp.partition, record.offset, record.key, record.value, is_late))
        finally:
            await consumer.stop()
    return records
