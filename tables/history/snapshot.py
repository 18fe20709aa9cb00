"""Reads all tables in one snapshot, for `verify`. Read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

from headrace.events.origin import Timeline
from headrace.folding.parked_groups import Group
from tables.bounded import MAX_READ_BYTES, bounded
from tables.database import Connection
from tables.history import epochs

# A statement may scan a whole table.
TIMEOUT_SECONDS = 3_600.0

NO_IDLE_TIMEOUT = "SET idle_in_transaction_session_timeout = 0"
LAST_POSITION = "SELECT last_position FROM relay_state"
PARTITIONS = "SELECT partition, last_position FROM topic_partitions ORDER BY partition"
PROGRESS = "SELECT projection, partition, position FROM progress ORDER BY projection, partition"
GUARDED = """
SELECT EXISTS (
    SELECT FROM pg_trigger
    WHERE tgrelid = 'event_store'::regclass AND tgname = 'event_store_is_append_only' AND tgenabled = 'A'
)
"""
DUPLICATES_IN_STORE = "SELECT source, id, count(*) FROM event_store GROUP BY source, id HAVING count(*) > 1"
DUPLICATES_IN_OUTBOX = "SELECT source, id, count(*) FROM outbox GROUP BY source, id HAVING count(*) > 1"
UNPUBLISHED = "SELECT position, published_at IS NOT NULL AS is_late FROM unpublished"
_STORED = """
SELECT position, id, source, event_type, subject, event_time, partition, event_as_text(event) AS event
FROM event_store WHERE position > $1 ORDER BY position LIMIT $2
"""
STORED = bounded(
    _STORED,
    "position, id, source, event_type, subject, event_time, partition, event",
    size="octet_length(event)",
    order="position",
    limit="$3",
)
_WAITING = """
SELECT o.seq, o.id, o.source, o.event_type, o.subject, o.event_time, o.partition_key, o.key_hash,
       o.event::text AS event, s.position, s.event = o.event::jsonb AS same,
       s.recorded_at < clock_timestamp() - make_interval(secs => $3) AS is_old
FROM outbox AS o LEFT JOIN event_store AS s ON s.source = o.source AND s.id = o.id
WHERE o.seq > $1 ORDER BY o.seq LIMIT $2
"""
WAITING = bounded(
    _WAITING,
    "seq, id, source, event_type, subject, event_time, partition_key, key_hash, event, position, same, is_old",
    size="octet_length(event)",
    order="seq",
    limit="$4",
)
KNOWN = """
SELECT asked.place FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (source, id, place)
WHERE EXISTS (SELECT FROM event_store AS s WHERE s.source = asked.source AND s.id = asked.id)
   OR EXISTS (SELECT FROM outbox AS o WHERE o.source = asked.source AND o.id = asked.id)
"""
STILL_WAITING = "SELECT seq FROM outbox WHERE seq = ANY ($1::bigint[])"
# On the topic, the extension `sequence` is the position; a value from the sender is ignored.
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
_ROWS = """
SELECT key, state::text AS state, position FROM projections
WHERE projection = $1 AND ($2::text IS NULL OR key > $2)
ORDER BY key LIMIT $3
"""
ROWS = bounded(_ROWS, "key, state, position", size="octet_length(state)", order="key", limit="$4")
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
    """A row of `outbox`. The last three fields compare it with the event store; None if it is not stored."""

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
    """An event that a projection skips: parked (`waits` is true) or discarded."""

    projection: str
    position: int
    group: Group
    waits: bool


class WronglyHeldBack(NamedTuple):
    """A parked or discarded event that is not stored, is beyond the progress, or is held back more than once."""

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
    """The queries of a snapshot; all see the database at the same point in time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def last_position(self) -> int:
        """The last position that the relay assigned."""
        position: int = await self._connection.fetchval(LAST_POSITION)
        return position

    async def timeline(self) -> Timeline:
        """Which records on the topic are events of this database."""
        return await epochs.read(self._connection)

    async def partitions(self) -> dict[int, int]:
        """The last position of each partition, as the relay recorded it."""
        return {row[0]: row[1] for row in await self._connection.fetch(PARTITIONS)}

    async def progress(self) -> dict[tuple[str, int], int]:
        """The progress of each projection in each partition, by (projection, partition)."""
        return {(name, partition): position for name, partition, position in await self._connection.fetch(PROGRESS)}

    async def is_guarded(self) -> bool:
        """Whether the database refuses changes of the event store."""
        found: bool = await self._connection.fetchval(GUARDED)
        return found

    async def duplicates_in_store(self) -> list[tuple[str, str, int]]:
        """(source, id, count) for each event that occurs more than once in spite of the unique index."""
        return [tuple(row) for row in await self._connection.fetch(DUPLICATES_IN_STORE)]

    async def duplicates_in_outbox(self) -> list[tuple[str, str, int]]:
        """(source, id, count) for each event that occurs more than once in the outbox."""
        return [tuple(row) for row in await self._connection.fetch(DUPLICATES_IN_OUTBOX)]

    async def stored(self, after: int, at_most: int) -> list[StoredRow]:
        """A page of the event store, after a position and in order of position."""
        return [StoredRow(*row) for row in await self._connection.fetch(STORED, after, at_most, MAX_READ_BYTES)]

    async def waiting(self, after: int, at_most: int, *, old_seconds: float) -> list[WaitingRow]:
        """A page of the outbox, after a `seq` and in order; `is_old` if it was stored over `old_seconds` ago."""
        return [
            WaitingRow(*row)
            for row in await self._connection.fetch(WAITING, after, at_most, old_seconds, MAX_READ_BYTES)
        ]

    async def unpublished(self) -> dict[int, bool]:
        """The positions of events that the broker has refused, and whether they were published later."""
        return {row["position"]: row["is_late"] for row in await self._connection.fetch(UNPUBLISHED)}

    async def same(self, positions: Sequence[int], events: Sequence[str]) -> dict[int, tuple[int, bool]]:
        """Compare texts with the stored events at the same positions.

        Return, by index and only for stored positions, the partition and whether both are equal as JSON. Raises
        asyncpg.DataError if a text is not valid jsonb.
        """
        return {place - 1: (partition, same) for place, partition, same in await self._fetch_same(positions, events)}

    async def _fetch_same(self, positions: Sequence[int], events: Sequence[str]) -> list[tuple[int, int, bool]]:
        async with self._connection.transaction():  # a savepoint: invalid JSON must not abort the snapshot
            return [tuple(row) for row in await self._connection.fetch(SAME, positions, events)]

    async def held_back(self, after: int, upto: int) -> list[HeldBack]:
        """The parked and discarded events after position `after`, up to and including `upto`."""
        rows = await self._connection.fetch(HELD_BACK, after, upto)
        return [HeldBack(name, position, Group(key, known), waits) for name, position, key, known, waits in rows]

    async def held_back_wrongly(self) -> list[WronglyHeldBack]:
        """The parked and discarded events that are not stored, beyond the progress, or both parked and discarded."""
        return [WronglyHeldBack(*row) for row in await self._connection.fetch(HELD_BACK_WRONGLY)]

    async def rows(self, projection: str, after: str | None, at_most: int) -> list[FoundRow]:
        """A page of a projection's rows, after a key and in order of the bytes of the key."""
        return [
            FoundRow(*row) for row in await self._connection.fetch(ROWS, projection, after, at_most, MAX_READ_BYTES)
        ]

    async def others(self, known: Sequence[str]) -> dict[str, int]:
        """The number of rows of each projection that is not in `known`."""
        return {row[0]: row[1] for row in await self._connection.fetch(OTHERS, known)}


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[Snapshot]:
    """A read-only REPEATABLE READ transaction, open for as long as the context lasts."""
    await connection.execute(NO_IDLE_TIMEOUT)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield Snapshot(connection)


async def still_waiting(connection: Connection, seqs: Sequence[int]) -> set[int]:
    """Those of the outbox rows with these `seq` that still exist."""
    return {row["seq"] for row in await connection.fetch(STILL_WAITING, seqs)}


async def known(connection: Connection, names: Sequence[tuple[str, str]]) -> set[int]:
    """The indexes of those events, as (source, id), that are in the store or the outbox."""
    rows = await connection.fetch(KNOWN, [source for source, _ in names], [event_id for _, event_id in names])
    return {row["place"] - 1 for row in rows}
