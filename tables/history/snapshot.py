"""Everything as it is in one snapshot, for `verify`, which compares it. Read only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

from headrace.folding.parked_groups import Group
from tables.database import Connection

# A statement may read a whole table.
TIMEOUT_SECONDS = 3_600.0

NO_IDLE_TIMEOUT = "SET idle_in_transaction_session_timeout = 0"
LAST_POSITION = "SELECT last_position FROM relay_state"
PARTITIONS = "SELECT partition, last_position FROM topic_partitions ORDER BY partition"
PROGRESS = "SELECT projection, partition, position FROM progress ORDER BY projection, partition"
GUARDED = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'event_store_is_append_only' AND tgenabled = 'A')"
DUPLICATES_IN_STORE = "SELECT source, id, count(*) FROM event_store GROUP BY source, id HAVING count(*) > 1"
DUPLICATES_IN_OUTBOX = "SELECT source, id, count(*) FROM outbox GROUP BY source, id HAVING count(*) > 1"
STORED = """
SELECT position, id, source, event_type, subject, event_time, partition, event::text AS event
FROM event_store WHERE position > $1 ORDER BY position LIMIT $2
"""
WAITING = """
SELECT o.seq, o.id, o.source, o.event_type, o.subject, o.event_time, o.partition_key, o.key_hash,
       o.event::text AS event, s.position, s.event = o.event::jsonb AS same,
       s.recorded_at < clock_timestamp() - make_interval(secs => $3) AS is_old
FROM outbox AS o LEFT JOIN event_store AS s ON s.source = o.source AND s.id = o.id
WHERE o.seq > $1 ORDER BY o.seq LIMIT $2
"""
STILL_WAITING = "SELECT seq FROM outbox WHERE seq = ANY ($1::bigint[])"
# The extension `sequence` of the topic's copy is the position; one that the sender gave does not count.
SAME = """
SELECT sent.place, s.partition, s.event - 'sequence' = sent.event::jsonb - 'sequence' AS same
FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS sent (position, event, place)
JOIN event_store AS s ON s.position = sent.position
"""
HELD_BACK = """
SELECT projection, position, key, key_is_known, true AS waits FROM parked WHERE position > $1 AND position <= $2
UNION ALL
SELECT projection, position, key, key_is_known, false FROM discarded WHERE position > $1 AND position <= $2
"""
HELD_BACK_WRONGLY = """
SELECT held.projection, held.position, s.position IS NULL AS is_unknown, held.times
FROM (
    SELECT projection, position, count(*) AS times
    FROM (SELECT projection, position FROM parked UNION ALL SELECT projection, position FROM discarded) AS either
    GROUP BY projection, position
) AS held
LEFT JOIN event_store AS s ON s.position = held.position
LEFT JOIN progress AS p ON p.projection = held.projection AND p.partition = s.partition
WHERE s.position IS NULL OR coalesce(p.position, 0) < held.position OR held.times > 1
ORDER BY held.projection, held.position
"""
ROWS = """
SELECT key, state::text AS state, position FROM projections
WHERE projection = $1 AND ($2::text IS NULL OR key > $2)
ORDER BY key LIMIT $3
"""
OTHERS = "SELECT projection, count(*) AS rows FROM projections WHERE projection <> ALL ($1::text[]) GROUP BY projection"


class StoredRow(NamedTuple):
    """A row of `event_store`."""

    position: int
    id: str
    source: str
    event_type: str
    subject: str | None
    event_time: datetime
    partition: int
    event: str


class WaitingRow(NamedTuple):
    """A row of `outbox`; what it is in the store: None where it is not stored."""

    seq: int
    id: str
    source: str
    event_type: str
    subject: str | None
    event_time: datetime
    partition_key: str
    key_hash: int
    event: str
    position: int | None
    same: bool | None
    is_old: bool | None


class HeldBack(NamedTuple):
    """An event that a projection goes on without: parked (it waits) or discarded."""

    projection: str
    position: int
    group: Group
    waits: bool


class WronglyHeldBack(NamedTuple):
    """A row of `parked` or `discarded` that cannot be right."""

    projection: str
    position: int
    is_unknown: bool
    times: int


class FoundRow(NamedTuple):
    """A row of `projections`."""

    key: str
    state: str
    position: int


class Snapshot:
    """The database as it was at one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def last_position(self) -> int:
        """The last position given out."""
        position: int = await self._connection.fetchval(LAST_POSITION)
        return position

    async def partitions(self) -> dict[int, int]:
        """The last position of each partition, as the relay noted it."""
        return {row[0]: row[1] for row in await self._connection.fetch(PARTITIONS)}

    async def progress(self) -> dict[tuple[str, int], int]:
        """How far each projection is in each partition."""
        return {(name, partition): position for name, partition, position in await self._connection.fetch(PROGRESS)}

    async def is_guarded(self) -> bool:
        """Whether the database refuses changes of the event store."""
        found: bool = await self._connection.fetchval(GUARDED)
        return found

    async def duplicates_in_store(self) -> list[tuple[str, str, int]]:
        """(source, id, how often), where it is more than once; the unique index should not let it."""
        return [tuple(row) for row in await self._connection.fetch(DUPLICATES_IN_STORE)]

    async def duplicates_in_outbox(self) -> list[tuple[str, str, int]]:
        """Likewise."""
        return [tuple(row) for row in await self._connection.fetch(DUPLICATES_IN_OUTBOX)]

    async def stored(self, after: int, at_most: int) -> list[StoredRow]:
        """A page of the event store, in order."""
        return [StoredRow(*row) for row in await self._connection.fetch(STORED, after, at_most)]

    async def waiting(self, after: int, at_most: int, *, old_seconds: float) -> list[WaitingRow]:
        """A page of the outbox, in order; stored longer ago than that is old."""
        return [WaitingRow(*row) for row in await self._connection.fetch(WAITING, after, at_most, old_seconds)]

    async def same(self, positions: Sequence[int], events: Sequence[str]) -> dict[int, tuple[int, bool]]:
        """For each of the texts, by its index, whose position is stored: the partition, and whether it is the same
        event as JSON. Raises asyncpg.DataError when one cannot be read."""
        return {place - 1: (partition, same) for place, partition, same in await self._fetch_same(positions, events)}

    async def _fetch_same(self, positions: Sequence[int], events: Sequence[str]) -> list[tuple[int, int, bool]]:
        async with self._connection.transaction():  # a savepoint: a text that is no JSON must not end the snapshot
            return [tuple(row) for row in await self._connection.fetch(SAME, positions, events)]

    async def held_back(self, after: int, upto: int) -> list[HeldBack]:
        """What is parked or discarded of the positions after one, up to another."""
        rows = await self._connection.fetch(HELD_BACK, after, upto)
        return [HeldBack(name, position, Group(key, known), waits) for name, position, key, known, waits in rows]

    async def held_back_wrongly(self) -> list[WronglyHeldBack]:
        """What is parked or discarded, and is not stored, or beyond the progress, or both parked and discarded."""
        return [WronglyHeldBack(*row) for row in await self._connection.fetch(HELD_BACK_WRONGLY)]

    async def rows(self, projection: str, after: str | None, at_most: int) -> list[FoundRow]:
        """A page of a projection's rows, in order of key (by bytes)."""
        return [FoundRow(*row) for row in await self._connection.fetch(ROWS, projection, after, at_most)]

    async def others(self, known: Sequence[str]) -> dict[str, int]:
        """How many rows there are of projections that are not known."""
        return {row[0]: row[1] for row in await self._connection.fetch(OTHERS, known)}


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[Snapshot]:
    """One moment, for as long as the context lasts."""
    await connection.execute(NO_IDLE_TIMEOUT)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield Snapshot(connection)


async def still_waiting(connection: Connection, seqs: Sequence[int]) -> set[int]:
    """Those of these rows of the outbox that are there now."""
    return {row["seq"] for row in await connection.fetch(STILL_WAITING, seqs)}
