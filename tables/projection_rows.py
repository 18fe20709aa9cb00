"""`projections` and `progress`, as the projectors write them: rows and progress in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import asyncpg

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
LOCK_PROGRESS = """
SELECT position, EXISTS (SELECT FROM parked WHERE parked.projection = $1) AS has_parked
FROM progress WHERE projection = $1 AND partition = $2 FOR UPDATE
"""
# In order of key, so that two transactions never wait for each other.
LOCK_ROWS = """
SELECT key, state::text AS state, version FROM projections
WHERE projection = $1 AND key = ANY ($2::text[])
ORDER BY key FOR UPDATE
"""
# The version is checked because a row that did not exist yet could not be locked.
WRITE_ROWS = """
INSERT INTO projections (projection, key, state, position, version, updated_at)
SELECT $1, r.key, r.state, r.position, r.version, clock_timestamp()
FROM unnest($2::text[], $3::jsonb[], $4::bigint[], $5::bigint[]) AS r (key, state, position, version)
ORDER BY r.key
ON CONFLICT (projection, key) DO UPDATE
SET state = excluded.state, position = excluded.position, version = excluded.version, updated_at = excluded.updated_at
WHERE projections.version = excluded.version - 1
"""
DELETE_ROWS = "DELETE FROM projections WHERE projection = $1 AND key = ANY ($2::text[])"
MOVE_PROGRESS = """
UPDATE progress SET position = $3, updated_at = clock_timestamp() WHERE projection = $1 AND partition = $2
"""


class Row(NamedTuple):
    """A row of a projection, as it is or as it shall be; state None: it does not exist."""

    state: str | None
    position: int
    version: int


class RowsChangedError(asyncpg.SerializationError):
    """Another worker wrote the same new row first; the batch is applied again."""


async def start_progress(connection: AnyConnection, projection: str, partition: int) -> int:
    """Make sure that the partition's progress can be locked; return its position."""
    await connection.execute(START_PROGRESS, projection, partition)
    position: int = await connection.fetchval(PROGRESS, projection, partition)
    return position


async def first_progress(connection: AnyConnection, projection: str) -> int | None:
    """The least progress of the partitions that have events to apply; None when there is no such partition."""
    position: int | None = await connection.fetchval(FIRST_PROGRESS, projection)
    return position


async def lock_progress(connection: AnyConnection, projection: str, partition: int) -> tuple[int, bool]:
    """The position of the last applied event of the partition, and whether the projection has events parked.

    Locked until the transaction ends.
    """
    row = await connection.fetchrow(LOCK_PROGRESS, projection, partition)
    assert row is not None, "start_progress comes first"
    return row["position"], row["has_parked"]


async def lock_rows(connection: AnyConnection, projection: str, keys: Sequence[str]) -> dict[str, tuple[str, int]]:
    """State (JSON text) and version of those rows that exist, locked until the transaction ends."""
    rows = await connection.fetch(LOCK_ROWS, projection, keys)
    return {row["key"]: (row["state"], row["version"]) for row in rows}


async def write_rows(connection: AnyConnection, projection: str, rows: Mapping[str, Row]) -> None:
    """Insert, update and delete rows. Raises RowsChangedError when one is not as it was read."""
    kept = [(key, *row) for key, row in rows.items() if row.state is not None]
    if kept:
        keys, states, positions, versions = zip(*kept, strict=True)
        result = await connection.execute(WRITE_ROWS, projection, keys, states, positions, versions)
        if result != f"INSERT 0 {len(kept)}":
            raise RowsChangedError(RowsChangedError.__doc__)
    if len(kept) < len(rows):
        await connection.execute(DELETE_ROWS, projection, [key for key, row in rows.items() if row.state is None])


async def move_progress(connection: AnyConnection, projection: str, partition: int, position: int) -> None:
    """Everything of the partition up to this position is applied."""
    await connection.execute(MOVE_PROGRESS, projection, partition, position)
