"""`event_store` as `check-history` reads it: events with the types that are decoded, in pages. It needs SELECT only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tables.bounded import MAX_READ_BYTES, bounded
from tables.database import Connection

STATEMENT_SECONDS = 60.0
"""The server itself ends a statement after this time."""

LIMIT = f"SET statement_timeout = {STATEMENT_SECONDS * 1000:.0f}"
LAST_POSITION = "SELECT coalesce(max(position), 0) FROM event_store"
# Events of other types are counted only.
_READ = """
    SELECT position, event_type, CASE WHEN event_type = ANY ($3::text[]) THEN event_as_text(event) END AS text
    FROM event_store WHERE position > $1 AND position <= $2{only} ORDER BY position LIMIT $4
"""
_BOUNDS = ("position, event_type, text", "coalesce(octet_length(text), 0)", "position", "$5")


def _bounded(only: str) -> str:
    columns, size, order, limit = _BOUNDS
    return bounded(_READ.format(only=only), columns, size=size, order=order, limit=limit)


READ = _bounded("")
READ_TYPE = _bounded(" AND event_type = ($3::text[])[1]")


class StoredData(NamedTuple):
    """An event of the store."""

    position: int
    type: str
    text: str | None
    """As `event_as_text` writes it; None for an event of another type."""


async def limit_statements(connection: Connection) -> None:
    """Let the server end each further statement of the session after `STATEMENT_SECONDS`."""
    await connection.execute(LIMIT)


async def last_position(connection: Connection) -> int:
    """The position of the newest event; 0 if there is none."""
    position: int = await connection.fetchval(LAST_POSITION)
    return position


async def read(
    connection: Connection, types: Sequence[str], *, after: int, upto: int, at_most: int, only_types: bool = False
) -> Sequence[StoredData]:
    """A page of the store, after one position and up to another, in order; empty at the end.

    Events of `types` have their text. With `only_types`, which needs a single type, events of other types are left out.
    """
    statement = READ_TYPE if only_types else READ
    # Rows are unpacked as they are: a named tuple for each would take a third of the time.
    found: Sequence[Any] = await connection.fetch(statement, after, upto, types, at_most, MAX_READ_BYTES)
    return found
