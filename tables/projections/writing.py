"""`projections` and `progress`, as the projectors write them: rows and progress in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.folding.rows import ReadRow, Span, WrittenRow
from tables.database import AnyConnection

START_PROGRESS = "INSERT INTO progress (projection, partition, position) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING"
PROGRESS = "SELECT position FROM progress WHERE projection = $1 AND partition = $2"
# 0 where a partition that has events has no progress yet.
FIRST_PROGRESS = """
SELECT min(coalesce(progress.position, 0)) AS position
FROM topic_partitions LEFT JOIN progress
    ON progress.projection = $1 AND progress.partition = topic_partitions.partition
WHERE coalesce(progress.position, 0) < topic_partitions.last_position
"""
# In order, here and below, so that two transactions never wait for each other.
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
READ_ROWS = """
SELECT key, state::text AS state, position, version FROM projections
WHERE projection = $1 AND key = ANY ($2::text[])
ORDER BY key
"""
LOCK_ROWS = READ_ROWS + "FOR UPDATE"
# A row is as it was read if its version and its position are: a row that was deleted and made anew starts again at
# version 1, but never at the same position. What was read and what is locked may differ: a row that did not exist
# could not be locked.
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
)
"""
SPANS = """(
    SELECT u.partition, u.first, u.last
    FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS u (partition, first, last)
)"""
# An UPDATE takes its rows in whatever order the plan has them; a lock that is taken before is in order.
SPANS_LOCKED_IN_ORDER = """(
    SELECT u.partition, u.first, u.last
    FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS u (partition, first, last)
    JOIN progress AS locked ON locked.projection = $1 AND locked.partition = u.partition
    ORDER BY u.partition FOR NO KEY UPDATE OF locked
)"""
WRITE_OF_ONE_PARTITION = _WRITE.format(spans=SPANS)
WRITE = _WRITE.format(spans=SPANS_LOCKED_IN_ORDER)


async def start_progress(connection: AnyConnection, projection: str, partition: int) -> int:
    """Make sure that the partition's progress can be locked; return its position."""
    await connection.execute(START_PROGRESS, projection, partition)
    position: int = await connection.fetchval(PROGRESS, projection, partition)
    return position


async def first_progress(connection: AnyConnection, projection: str) -> int | None:
    """The least progress of the partitions that have events to apply; None when there is no such partition."""
    position: int | None = await connection.fetchval(FIRST_PROGRESS, projection)
    return position


async def lock_progress(connection: AnyConnection, projection: str, partitions: Sequence[int]) -> dict[int, int]:
    """The position of the last applied event of each partition, locked until the transaction ends."""
    rows = await connection.fetch(LOCK_PROGRESS, projection, partitions)
    return {row["partition"]: row["position"] for row in rows}


async def start_all_progress(connection: AnyConnection, projection: str) -> None:
    """Make sure that the progress of every partition that has events can be locked."""
    await connection.execute(START_ALL_PROGRESS, projection)


async def lock_all_progress(connection: AnyConnection, projection: str) -> None:
    """Until the transaction ends, no event is applied to the projection, nor parked."""
    await connection.execute(LOCK_ALL_PROGRESS, projection)


async def read_rows(
    connection: AnyConnection, projection: str, keys: Sequence[str], *, lock: bool = False
) -> dict[str, ReadRow]:
    """Those of the rows that exist; with `lock` they stay as they are until the transaction ends."""
    rows = await connection.fetch(LOCK_ROWS if lock else READ_ROWS, projection, keys)
    return {row["key"]: ReadRow(row["state"], row["position"], row["version"]) for row in rows}


async def write(
    connection: AnyConnection,
    projection: str,
    spans: Mapping[int, Span],
    rows: Mapping[str, WrittenRow],
    *,
    if_none_is_parked: bool = False,
) -> None:
    """Write the rows and move the progress of the partitions to the ends of their spans; all of it, or nothing.

    Raises asyncpg.SerializationError when a row is not as it was read, when the beginning of a span is applied
    already, or, if that is asked for, when an event of the projection is parked.
    """
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
    )
