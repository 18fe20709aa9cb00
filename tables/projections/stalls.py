"""Which partitions have events that a projection could apply, and which projections are stalled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from tables.database import AnyConnection
from tables.projections.positions import positions

# An event that is still in the outbox may not be published yet, so it cannot be applied and is not a stall.
WAITING = """
SELECT asked.projection, stored.partition, coalesce(reached.position, 0) AS position
FROM unnest($1::text[]) AS asked (projection)
JOIN topic_partitions AS stored ON stored.partition = ANY ($2::integer[])
LEFT JOIN progress AS reached ON reached.projection = asked.projection AND reached.partition = stored.partition
CROSS JOIN LATERAL (
    SELECT s.source, s.id FROM event_store AS s
    WHERE s.partition = stored.partition AND s.position > coalesce(reached.position, 0)
    ORDER BY s.position LIMIT 1
) AS first
WHERE coalesce(reached.position, 0) < stored.last_position
  AND NOT EXISTS (SELECT FROM outbox WHERE outbox.source = first.source AND outbox.id = first.id)
"""


async def waiting(
    connection: AnyConnection, projections: Sequence[str], partitions: Collection[int]
) -> Mapping[str, Mapping[int, int]]:
    """By projection, the progress in each of the partitions that has a published event to apply.

    Parked events count as applied.
    """
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for row in await connection.fetch(WAITING, projections, list(partitions)):
        found[row["projection"]][row["partition"]] = row["position"]
    return found


class Stall(msgspec.Struct, frozen=True):
    """A projection that has events to apply but has applied none for too long, at least since `since`."""

    projection: str
    position: int
    lag_events: int
    since: datetime


async def stalls(connection: AnyConnection, projections: Sequence[str], *, longer_than_seconds: float) -> list[Stall]:
    """Those of the projections that are stalled, in any worker, for longer than `longer_than_seconds`."""
    now = datetime.now(UTC)
    return [
        Stall(one.projection, one.position, one.lag_events, now - timedelta(seconds=one.waits_seconds))
        for one in await positions(connection, projections)
        if one.waits_seconds > longer_than_seconds
    ]
