"""`event_store` as `check-history` reads it: events with the types that are decoded, in pages. It needs SELECT only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tables.bounded import MAX_READ_BYTES
from tables.database import Connection

STATEMENT_SECONDS = 60.0
"""The server itself ends a statement after this time."""
NAMES_AT_ONCE = 1_000

LIMIT = "SELECT set_config('statement_timeout', $1, false)"
LAST_POSITION = "SELECT coalesce(max(position), 0) FROM event_store"
# Like `bounded`, without the count of what is left out, which costs a third. Events of other types have no text.
_READ = """
SELECT position, event_type, text, bytes
FROM (
    SELECT *, coalesce(octet_length(text), 0) AS size,
           sum(coalesce(octet_length(text), 0)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes
    FROM (
        SELECT position, event_type, CASE WHEN event_type = ANY ($3::text[]) THEN event_as_text(event) END AS text
        FROM event_store WHERE position > $1 AND position <= $2{only} ORDER BY position
    ) AS next
) AS measured
WHERE bytes - size < $4 ORDER BY position
"""
READ = _READ.format(only="")
READ_TYPE = _READ.format(only=" AND event_type = ($3::text[])[1]")
TYPE = "SELECT event_type FROM event_store WHERE position = $1"
NAMES = "SELECT position, source, id FROM event_store WHERE position = ANY ($1::bigint[])"


class StoredData(NamedTuple):
    """An event of the store."""

    position: int
    type: str
    text: str | None
    """As `event_as_text` writes it; None for an event of another type."""
    bytes: int
    """Of the texts of the page up to this event."""


class StoredName(NamedTuple):
    """What names an event, besides its position."""

    source: str
    id: str


async def limit_statements(connection: Connection) -> None:
    """Let the server end each further statement of the session after `STATEMENT_SECONDS`."""
    await connection.execute(LIMIT, f"{STATEMENT_SECONDS * 1000:.0f}")


async def last_position(connection: Connection) -> int:
    """The position of the newest event; 0 if there is none."""
    position: int = await connection.fetchval(LAST_POSITION)
    return position


async def read(
    connection: Connection, types: Sequence[str], *, after: int, upto: int, only_types: bool = False
) -> tuple[Sequence[StoredData], int]:
    """The events after one position and up to another, in order, and the position up to which they were read.

    Not all if their texts exceed `MAX_READ_BYTES`, but at least one. Events of `types` have their text. With
    `only_types`, which needs a single type, events of other types are left out.
    """
    statement = READ_TYPE if only_types else READ
    # Rows are unpacked as they are: a named tuple for each would cost a third.
    found: Sequence[Any] = await connection.fetch(statement, after, upto, types, MAX_READ_BYTES)
    is_cut = bool(found) and found[-1][3] >= MAX_READ_BYTES
    return found, found[-1][0] if is_cut else upto


async def type_at(connection: Connection, position: int) -> str | None:
    """The type of the event at a position, whose text is not read; None if there is none."""
    found: str | None = await connection.fetchval(TYPE, position)
    return found


async def names(connection: Connection, positions: Sequence[int]) -> Mapping[int, StoredName]:
    """What names the events at these positions."""
    found: dict[int, StoredName] = {}
    for first in range(0, len(positions), NAMES_AT_ONCE):
        rows = await connection.fetch(NAMES, positions[first : first + NAMES_AT_ONCE])
        found |= {position: StoredName(source, id_) for position, source, id_ in rows}
    return found
