"""Which events a projection could apply and has not, and which projections have stood still for too long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from tables.database import AnyConnection
from tables.projections.positions import positions

# What is still in the outbox may not be published yet: nobody can apply it, and nobody stands still because of it.
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
    """By projection: those of the partitions that have a published event to apply, and the progress of each.

    Parked events are behind the progress.
    """
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for row in await connection.fetch(WAITING, projections, list(partitions)):
        found[row["projection"]][row["partition"]] = row["position"]
    return found


class Stall(msgspec.Struct, frozen=True):
    """A projection that has had events to apply, and applied none, for too long."""

    projection: str
    position: int
    lag_events: int
    since: datetime


async def stalls(connection: AnyConnection, projections: Sequence[str], *, longer_than_seconds: float) -> list[Stall]:
    """The projections that stand still, in whichever worker."""
    now = datetime.now(UTC)
    return [
        Stall(one.projection, one.position, one.lag_events, now - timedelta(seconds=one.waits_seconds))
        for one in await positions(connection, projections)
        if one.waits_seconds > longer_than_seconds
    ]
