"""The partitions of projections whose stored events are not all applied, or whose progress is beyond the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tables.database import AnyConnection

# An event that is still in the outbox may not be published yet: nothing else may deliver it, and it is no stall.
BEHIND = """
SELECT asked.projection, stored.partition, coalesce(reached.position, 0) AS position, stored.last_position
FROM unnest($1::text[]) AS asked (projection)
CROSS JOIN topic_partitions AS stored
LEFT JOIN progress AS reached ON reached.projection = asked.projection AND reached.partition = stored.partition
CROSS JOIN LATERAL (
    SELECT s.source, s.id FROM event_store AS s
    WHERE s.partition = stored.partition AND s.position > coalesce(reached.position, 0)
    ORDER BY s.position LIMIT 1
) AS first
WHERE coalesce(reached.position, 0) < stored.last_position
  AND ($2::integer[] IS NULL OR stored.partition = ANY ($2))
  AND NOT EXISTS (SELECT FROM outbox WHERE outbox.source = first.source AND outbox.id = first.id)
ORDER BY stored.partition, asked.projection
"""
AHEAD = """
SELECT reached.projection, reached.partition, reached.position, head.last_position
FROM progress AS reached CROSS JOIN relay_state AS head
WHERE reached.projection = ANY ($1::text[]) AND reached.position > head.last_position
ORDER BY reached.projection, reached.partition
"""


class Behind(NamedTuple):
    """A partition with stored events that a projection has not applied, or with progress beyond the store."""

    projection: str
    partition: int
    position: int
    """The progress."""
    last_position: int
    """The last stored position: of the partition, or, beyond the store, of all."""


async def behind(
    connection: AnyConnection, projections: Sequence[str], partitions: Collection[int] | None = None
) -> list[Behind]:
    """The partitions with stored events that are not applied yet, unless the relay is still publishing them.

    Parked events count as applied. Without `partitions`, all are asked.
    """
    asked = None if partitions is None else list(partitions)
    return [Behind(*row) for row in await connection.fetch(BEHIND, projections, asked)]


async def ahead(connection: AnyConnection, projections: Sequence[str]) -> list[Behind]:
    """The partitions whose progress the event store does not reach."""
    return [Behind(*row) for row in await connection.fetch(AHEAD, projections)]
