"""The status of an event, from one query of `outbox`, `event_store`, `unpublished`, `progress` and others."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from tables.database import AnyConnection

FIND = """
SELECT coalesce(waiting.received_at, stored.received_at) AS received_at,
       stored.position, stored.recorded_at, stored.partition,
       stored.position IS NOT NULL AND waiting.seq IS NULL AND NOT EXISTS (
           SELECT FROM unpublished WHERE unpublished.position = stored.position AND published_at IS NULL
       ) AS published,
       ARRAY (
           SELECT projection FROM progress
           WHERE progress.partition = stored.partition
             AND progress.position BETWEEN stored.position AND (SELECT last_position FROM relay_state)
       ) AS applied_by,
       ARRAY (SELECT projection FROM parked WHERE parked.position = stored.position) AS parked_by,
       ARRAY (SELECT projection FROM discarded WHERE discarded.position = stored.position) AS discarded_by
FROM (VALUES ($1::text, $2::text)) AS asked (source, id)
LEFT JOIN outbox AS waiting ON waiting.source = asked.source AND waiting.id = asked.id
LEFT JOIN event_store AS stored ON stored.source = asked.source AND stored.id = asked.id
WHERE waiting.seq IS NOT NULL OR stored.position IS NOT NULL
"""


class EventStatus(NamedTuple):
    """The status of an event; position, recorded_at and partition are None until it is stored."""

    received_at: datetime
    position: int | None
    recorded_at: datetime | None
    partition: int | None
    published: bool
    applied_by: list[str]
    parked_by: list[str]
    discarded_by: list[str]


async def find(connection: AnyConnection, source: str, event_id: str) -> EventStatus | None:
    """The status of an event; None if it is unknown."""
    row = await connection.fetchrow(FIND, source, event_id)
    return None if row is None else EventStatus(*row)
