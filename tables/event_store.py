"""`event_store`, as the event handlers read it: the history that a projection starts from."""

from __future__ import annotations

from typing import NamedTuple

from tables.database import AnyConnection

READ = """
SELECT position, partition, event::text AS text FROM event_store
WHERE position > $1 AND position < $2 AND ($3::integer IS NULL OR partition = $3)
ORDER BY position LIMIT $4
"""
LAST_POSITION = "SELECT last_position FROM relay_state"


class PastEvent(NamedTuple):
    """An event of the store: where it is, and the envelope as JSON."""

    position: int
    partition: int
    text: str


async def read(
    connection: AnyConnection, *, after: int, before: int, partition: int | None = None, at_most: int
) -> list[PastEvent]:
    """The events strictly between two positions, in order; of one partition if it is given."""
    rows = await connection.fetch(READ, after, before, partition, at_most)
    return [PastEvent(*row) for row in rows]


async def last_position(connection: AnyConnection) -> int:
    """The position of the newest event; 0 when there is none."""
    position: int = await connection.fetchval(LAST_POSITION)
    return position
