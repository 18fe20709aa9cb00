"""How far each projection is: its position, its lag, and whether it moves.

The position of a projection is the greatest p such that every event up to p is applied. The relay writes
`event_store`, `topic_partitions` and `relay_state` in one transaction, so within one snapshot they agree; hence one
statement for each question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tables.database import AnyConnection

# A partition is behind when something is stored for it that is not applied; where none is, all that is stored is
# applied. The first event that is not applied is looked for along the primary key: LATERAL with LIMIT stops at it.
POSITIONS = """
WITH behind AS (
    SELECT asked.projection, stored.partition, coalesce(reached.position, 0) AS position, reached.updated_at
    FROM unnest($1::text[]) AS asked (projection)
    CROSS JOIN topic_partitions AS stored
    LEFT JOIN progress AS reached ON reached.projection = asked.projection AND reached.partition = stored.partition
    WHERE coalesce(reached.position, 0) < stored.last_position
),
missing AS (
    SELECT behind.projection, first.position, first.recorded_at,
           greatest(first.recorded_at, behind.updated_at) AS waits_since
    FROM behind
    CROSS JOIN LATERAL (
        SELECT s.position, s.recorded_at FROM event_store AS s
        WHERE s.partition = behind.partition AND s.position > behind.position
        ORDER BY s.position LIMIT 1
    ) AS first
)
SELECT asked.projection,
       head.last_position,
       coalesce(min(missing.position) - 1, head.last_position) AS position,
       extract(epoch FROM clock_timestamp() - min(missing.recorded_at))::float8 AS lag_seconds,
       extract(epoch FROM clock_timestamp() - min(missing.waits_since))::float8 AS waits_seconds
FROM unnest($1::text[]) WITH ORDINALITY AS asked (projection, place)
CROSS JOIN relay_state AS head
LEFT JOIN missing ON missing.projection = asked.projection
GROUP BY asked.projection, asked.place, head.last_position
ORDER BY asked.place
"""

# Why it is safe: in the snapshot of this one statement, relay_state says L and topic_partitions says that the last of
# the partition's events up to L is P. Progress at or above P therefore means that every event of the partition up to L
# is applied, so L may stand there: any event that comes later gets a position above L. A row that a projector holds is
# skipped; a row that it has changed since the snapshot is looked at again as it now is (READ COMMITTED), against the
# same L and P, which stay true. Rows only go up. A partition without a row is not behind unless it has events, and
# then it is; so no rows are added. updated_at stays, for it tells when events were last applied.
ADVANCE_IDLE = """
WITH idle AS (
    SELECT reached.projection, reached.partition, head.last_position
    FROM progress AS reached
    JOIN topic_partitions AS stored ON stored.partition = reached.partition
    CROSS JOIN relay_state AS head
    WHERE reached.position >= stored.last_position AND reached.position < head.last_position
    FOR UPDATE OF reached SKIP LOCKED
)
UPDATE progress SET position = idle.last_position
FROM idle
WHERE progress.projection = idle.projection AND progress.partition = idle.partition
"""


class ProjectionPosition(NamedTuple):
    """How far a projection is."""

    projection: str
    position: int
    """Every event up to it is applied; 0 when none is."""
    lag_events: int
    """How many events are stored after `position`; some of them may be applied."""
    lag_seconds: float
    """How long ago the oldest event that is not applied was stored; 0 when all are applied."""
    waits_seconds: float
    """How long a partition that has events to apply has applied none; 0 when all are applied."""


async def positions(connection: AnyConnection, projections: Sequence[str]) -> list[ProjectionPosition]:
    """How far these projections are, in the order of `projections`, which has no name twice."""
    rows = await connection.fetch(POSITIONS, projections)
    return [
        ProjectionPosition(
            row["projection"],
            row["position"],
            row["last_position"] - row["position"],
            max(row["lag_seconds"] or 0.0, 0.0),
            max(row["waits_seconds"] or 0.0, 0.0),
        )
        for row in rows
    ]


async def advance_idle_partitions(connection: AnyConnection) -> None:
    """Move the progress of partitions that have nothing to apply up to the last position given out.

    So a look for the first event that is not applied starts near it, however long a partition had none. Best called
    once a second; several callers do not disturb each other, nor the projectors. READ COMMITTED.
    """
    await connection.execute(ADVANCE_IDLE)
