"""The position and lag of each projection, and how long it has not moved.

The position of a projection is the greatest p such that every event up to p is applied. The relay writes
`event_store`, `topic_partitions` and `relay_state` in one transaction, so they are consistent within one snapshot.
Hence each query is a single statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tables.database import AnyConnection

# A partition is behind if it has stored events that are not applied. If no partition is behind, all events are applied.
# The first unapplied event is found along the primary key: LATERAL with LIMIT stops the scan there.
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

# Why this is safe: in the snapshot of the statement, the last position is L (relay_state), and the partition's last
# event up to L is at P (topic_partitions). Progress at or above P means that every event of the partition up to L is
# applied. So the progress may be set to L, because later events get positions above L.
# A row locked by a projector is skipped. A row changed since the snapshot is checked again in its new version (READ
# COMMITTED), against the same L and P, which remain valid. Progress only increases. A partition without a row is behind
# if it has events, so no rows are inserted. updated_at is kept, because it is the time when events were last applied.
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
    """The position and lag of a projection."""

    projection: str
    position: int
    """Every event up to it is applied; 0 if none is."""
    lag_events: int
    """The number of events stored after `position`; some of them may be applied."""
    lag_seconds: float
    """The age of the oldest unapplied event since it was stored; 0 if all are applied."""
    waits_seconds: float
    """How long a partition with events to apply has applied none; 0 if all are applied."""


async def positions(connection: AnyConnection, projections: Sequence[str]) -> list[ProjectionPosition]:
    """The positions of these projections, in the order of `projections`, which must not contain duplicates."""
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
    """Advance the progress of partitions with nothing to apply to the last assigned position.

    So the search for the first unapplied event starts near it, however long a partition was idle. Meant to be called
    once a second, in READ COMMITTED. Concurrent callers and projectors do not interfere.
    """
    await connection.execute(ADVANCE_IDLE)
