"""Writing `projections` and `progress`: rows and progress in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.folding.rows import ReadRow, Span, WrittenRow
from tables.database import AnyConnection
from tables.unstorable import TooLargeError

START_PROGRESS = "INSERT INTO progress (projection, partition, position) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING"
PROGRESS = "SELECT position FROM progress WHERE projection = $1 AND partition = $2"
# 0 if a partition with events has no progress yet.
FIRST_PROGRESS = """
SELECT min(coalesce(progress.position, 0)) AS position
FROM topic_partitions LEFT JOIN progress
    ON progress.projection = $1 AND progress.partition = topic_partitions.partition
WHERE coalesce(progress.position, 0) < topic_partitions.last_position
"""
# Locks are acquired in order, here and below, so that transactions do not deadlock.
LOCK_PROGRESS = """
SELECT partition, position FROM progress
WHERE projection = $1 AND partition = ANY ($2::integer[])
ORDER BY partition FOR UPDATE
"""
START_ALL_PROGRESS = """
INSERT INTO progress (projection, partition, position)
SELECT $1, partition, 0 FROM topic_partitions
ON CONFLICT DO NOTHING
"""
LOCK_ALL_PROGRESS = "SELECT FROM progress WHERE projection = $1 ORDER BY partition FOR UPDATE"
MAX_STATE_BYTES = 32 * 1024 * 1024
"""Of the states that are read or written together, unless it is a single state."""
_READ_ROWS = """
SELECT key, CASE WHEN bytes <= $3 OR rows = 1 THEN state END AS state, position, version
FROM (
    SELECT key, state, position, version, sum(octet_length(state)) OVER () AS bytes, count(*) OVER () AS rows
    FROM (
        SELECT key, state::text AS state, position, version FROM projections
        WHERE projection = $1 AND key = ANY ($2::text[])
        ORDER BY key {lock}
    ) AS found
) AS measured
"""
READ_ROWS = _READ_ROWS.format(lock="")
LOCK_ROWS = _READ_ROWS.format(lock="FOR UPDATE")
# A row is unchanged if both its version and its position are: a row that was deleted and recreated restarts at version
# 1, but never at the same position. Locking is not enough, because a row that did not exist could not be locked.
_WRITE = """
WITH written AS MATERIALIZED (
    SELECT key, state, position, version, known_position
    FROM unnest($5::text[], $6::jsonb[], $7::bigint[], $8::bigint[], $9::bigint[])
        AS r (key, state, position, version, known_position)
),
moved AS (
    UPDATE progress SET position = m.last, updated_at = clock_timestamp()
    FROM {spans} AS m
    WHERE progress.projection = $1 AND progress.partition = m.partition AND progress.position < m.first
    RETURNING 1
),
inserted AS (
    INSERT INTO projections (projection, key, state, position, version)
    SELECT $1, key, state, position, version FROM written WHERE version = 1 AND state IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING 1
),
updated AS (
    UPDATE projections AS p
    SET state = w.state, position = w.position, version = w.version, updated_at = clock_timestamp()
    FROM written AS w
    WHERE p.projection = $1 AND p.key = w.key
      AND p.version = w.version - 1 AND p.position = w.known_position AND w.state IS NOT NULL
    RETURNING 1
),
deleted AS (
    DELETE FROM projections AS p USING written AS w
    WHERE p.projection = $1 AND p.key = w.key
      AND p.version = w.version - 1 AND p.position = w.known_position AND w.state IS NULL
    RETURNING 1
)
SELECT require_unchanged(
    (SELECT count(*) FROM moved) = cardinality($2::integer[])
    AND (SELECT count(*) FROM inserted) + (SELECT count(*) FROM updated) + (SELECT count(*) FROM deleted)
        = cardinality($5::text[])
    AND NOT ($10 AND EXISTS (SELECT FROM parked WHERE parked.projection = $1))
    AND ($11::bigint IS NULL OR EXISTS (SELECT FROM relay_state WHERE epoch = $11 AND last_position >= $12))
)
"""
SPANS = """(
    SELECT u.partition, u.first, u.last
    FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS u (partition, first, last)
)"""
# An UPDATE locks rows in the order of its plan, so this locks them in order of partition first.
SPANS_LOCKED_IN_ORDER = """(
    SELECT u.partition, u.first, u.last
    FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS u (partition, first, last)
    JOIN progress AS locked ON locked.projection = $1 AND locked.partition = u.partition
    ORDER BY u.partition FOR NO KEY UPDATE OF locked
)"""
WRITE_OF_ONE_PARTITION = _WRITE.format(spans=SPANS)
WRITE = _WRITE.format(spans=SPANS_LOCKED_IN_ORDER)


async def start_progress(connection: AnyConnection, projection: str, partition: int) -> int:
    """Insert the partition's progress if missing, so that it can be locked; return its position."""
    await connection.execute(START_PROGRESS, projection, partition)
    position: int = await connection.fetchval(PROGRESS, projection, partition)
    return position


async def first_progress(connection: AnyConnection, projection: str) -> int | None:
    """The least progress of the partitions with events to apply; None if there is no such partition."""
    position: int | None = await connection.fetchval(FIRST_PROGRESS, projection)
    return position


async def lock_progress(connection: AnyConnection, projection: str, partitions: Sequence[int]) -> dict[int, int]:
    """The progress of each partition, locked until the transaction ends."""
    rows = await connection.fetch(LOCK_PROGRESS, projection, partitions)
    return {row["partition"]: row["position"] for row in rows}


async def start_all_progress(connection: AnyConnection, projection: str) -> None:
    """Insert the missing progress of all partitions with events, so that it can be locked."""
    await connection.execute(START_ALL_PROGRESS, projection)


async def lock_all_progress(connection: AnyConnection, projection: str) -> None:
    """Prevent events from being applied to the projection or parked, until the transaction ends."""
    await connection.execute(LOCK_ALL_PROGRESS, projection)


async def read_rows(
    connection: AnyConnection,
    projection: str,
    keys: Sequence[str],
    *,
    lock: bool = False,
    seconds: float | None = None,
) -> dict[str, ReadRow]:
    """The existing rows of these keys; with `lock`, locked until the transaction ends.

    `seconds` is the timeout; None for the connection's. Raises TooLargeError if several rows exceed MAX_STATE_BYTES.
    """
    statement = LOCK_ROWS if lock else READ_ROWS
    rows = await connection.fetch(statement, projection, keys, MAX_STATE_BYTES, timeout=seconds)
    if any(row["state"] is None for row in rows):
        raise TooLargeError
    return {row["key"]: ReadRow(row["state"], row["position"], row["version"]) for row in rows}


async def write(
    connection: AnyConnection,
    projection: str,
    spans: Mapping[int, Span],
    rows: Mapping[str, WrittenRow],
    *,
    if_none_is_parked: bool = False,
    epoch: int | None = None,
    seconds: float | None = None,
) -> None:
    """Write the rows and move the progress of the partitions to the ends of their spans, atomically.

    Raises asyncpg.SerializationError if a row has changed since it was read, if the first event of a span is already
    applied, or, with `if_none_is_parked`, if the projection has parked events. Also, with `epoch`, if another epoch is
    open, or if the event store does not have the last position. Raises TooLargeError if the states of several rows
    exceed MAX_STATE_BYTES. `seconds` is the timeout; None for the connection's.
    """
    if len(rows) > 1 and sum(len(row.state or "") for row in rows.values()) > MAX_STATE_BYTES:
        raise TooLargeError
    ordered = sorted(rows.items())
    columns = zip(*((key, *row) for key, row in ordered), strict=True) if ordered else ([],) * 5
    await connection.execute(
        WRITE if len(spans) > 1 else WRITE_OF_ONE_PARTITION,
        projection,
        list(spans),
        [span.first for span in spans.values()],
        [span.last for span in spans.values()],
        *columns,
        if_none_is_parked,
        epoch,
        max((span.last for span in spans.values()), default=0),
        timeout=seconds,
    )
