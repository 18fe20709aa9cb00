"""`unpublished`: events that the broker refused. They are stored and projected, and the topic lacks them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from headrace.events.topic_record import PastEvent
from tables.bounded import MAX_READ_BYTES, bounded
from tables.database import AnyConnection

SET_ASIDE = """
INSERT INTO unpublished (position, partition, error, size_bytes)
SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::bigint[])
ON CONFLICT (position) DO UPDATE
    SET error = excluded.error, size_bytes = excluded.size_bytes, attempts = unpublished.attempts + 1,
        published_at = NULL
"""
PUBLISHED = """
UPDATE unpublished SET published_at = clock_timestamp() WHERE position = ANY ($1::bigint[]) AND published_at IS NULL
"""
_LISTED = """
    SELECT u.position, u.partition, s.source, s.id, s.event_type AS type, u.error, u.size_bytes, u.attempts,
           u.set_aside_at
    FROM unpublished AS u JOIN event_store AS s USING (position)
    WHERE u.published_at IS NULL AND u.position > $1
    ORDER BY u.position LIMIT $2
"""
LISTED = bounded(
    _LISTED,
    "position, partition, source, id, type, error, size_bytes, attempts, set_aside_at, found",
    size="(octet_length(source) + octet_length(id) + octet_length(type) + octet_length(error))",
    order="position",
    limit="$3",
)
_WITH_EVENTS = """
    SELECT u.position, s.partition, event_as_text(s.event) AS text
    FROM unpublished AS u JOIN event_store AS s USING (position)
    WHERE u.published_at IS NULL AND u.position > $1 AND ($2::bigint IS NULL OR u.position = $2)
    ORDER BY u.position LIMIT $3
"""
WITH_EVENTS = bounded(
    _WITH_EVENTS, "position, partition, text", size="octet_length(text)", order="position", limit="$4"
)
COUNT = "SELECT count(*) FROM unpublished WHERE published_at IS NULL"
# The last such event of each partition. Progress that a projection does not have yet is 0.
UNAPPLIED = """
SELECT asked.projection, u.partition, max(u.position) AS position
FROM unpublished AS u
CROSS JOIN unnest($1::text[]) AS asked (projection)
LEFT JOIN progress ON progress.projection = asked.projection AND progress.partition = u.partition
WHERE u.published_at IS NULL AND u.position > coalesce(progress.position, 0)
GROUP BY asked.projection, u.partition
"""


class Refused(NamedTuple):
    """An event whose record the broker refused."""

    position: int
    partition: int
    error: str
    size_bytes: int
    """Of the record, with its key and headers."""


class Unpublished(NamedTuple):
    """A stored event that the topic lacks, because the broker refused it."""

    position: int
    partition: int
    source: str
    id: str
    type: str
    error: str
    size_bytes: int
    attempts: int
    set_aside_at: datetime


class Unapplied(NamedTuple):
    """The last unpublished event of a partition that a projection has not applied."""

    projection: str
    partition: int
    position: int


async def set_aside(connection: AnyConnection, refused: Sequence[Refused]) -> None:
    """Record that the broker refused these events; the attempts of each are counted."""
    await connection.execute(SET_ASIDE, *(list(column) for column in zip(*refused, strict=True)))


async def note_published(connection: AnyConnection, positions: Sequence[int]) -> None:
    """Record that the topic has these events now; positions that were not refused are ignored."""
    await connection.execute(PUBLISHED, positions)


class UnpublishedPage(NamedTuple):
    """Unpublished events in order of position, and whether there are more after them."""

    events: list[Unpublished]
    more: bool


async def listed(connection: AnyConnection, *, after: int = 0, at_most: int) -> UnpublishedPage:
    """At most `at_most` unpublished events after a position.

    Fewer if they exceed `MAX_READ_BYTES`, but at least one if there is any.
    """
    rows = await connection.fetch(LISTED, after, at_most + 1, MAX_READ_BYTES)
    events = [Unpublished(*list(row)[:-1]) for row in rows[:at_most]]
    return UnpublishedPage(events, more=bool(events) and rows[0]["found"] > len(events))


async def with_events(connection: AnyConnection, *, after: int, position: int | None, at_most: int) -> list[PastEvent]:
    """Unpublished events after a position, in order; only that at `position` if it is given.

    At most `at_most`, and fewer if they exceed `MAX_READ_BYTES`, but at least one if there is any.
    """
    rows = await connection.fetch(WITH_EVENTS, after, position, at_most, MAX_READ_BYTES)
    return [PastEvent(*row) for row in rows]


async def count(connection: AnyConnection) -> int:
    """The number of unpublished events."""
    events: int = await connection.fetchval(COUNT)
    return events


async def unapplied(connection: AnyConnection, projections: Sequence[str]) -> list[Unapplied]:
    """For each projection and partition, the last unpublished event beyond the progress, if there is one."""
    return [Unapplied(*row) for row in await connection.fetch(UNAPPLIED, projections)]
