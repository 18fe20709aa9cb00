"""The status of an event, from one query of `outbox`, `event_store`, `unpublished`, `progress` and others."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from headrace.access.grant import Grant
from tables.allowed import Arguments, Columns, conditions
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
WHERE (waiting.seq IS NOT NULL OR stored.position IS NOT NULL){conditions}
"""
COLUMNS = Columns(
    'asked.source COLLATE "C"',
    "coalesce(waiting.subject, stored.subject)",
    "coalesce(waiting.event_type, stored.event_type)",
)


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


async def find(
    connection: AnyConnection, source: str, event_id: str, *, grant: Grant | None = None
) -> EventStatus | None:
    """The status of an event; None if it is unknown, or the caller may not touch it."""
    arguments = Arguments(before=2)
    own = "".join(f" AND {one}" for one in conditions(grant, COLUMNS, arguments.add))
    row = await connection.fetchrow(FIND.format(conditions=own), source, event_id, *arguments)
    return None if row is None else EventStatus(*row)
