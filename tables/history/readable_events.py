"""Reads stored events although PostgreSQL cannot write one of them as text.

jsonb holds `1e131071` in a few bytes and writes 131,072 digits. Ingestion refuses an event that grows beyond its limit,
but the store may have one from an earlier version. Every statement that reads events runs here: such an event is
returned without its data, and all others as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from headrace.events.topic_record import PastEvent
from tables.database import AnyConnection

EVENT_TEXT = re.compile(r"\b(?:[a-z]+\.)?event::text")
READABLE = "SELECT event_position, event_text FROM readable_events($1::bigint[], $2)"
MAX_BYTES = 8 * 1024 * 1024
SECONDS = 2.0
"""The time limit of the usual statement. An event that cannot be written as text needs longer than that to fail."""
_TOO_LARGE = (
    asyncpg.ProgramLimitExceededError,
    asyncpg.InternalServerError,
    asyncpg.OutOfMemoryError,
    TimeoutError,
)


class EventRows(NamedTuple):
    """Rows of a statement, each as a dict by column."""

    rows: Sequence[Any]
    is_cut: bool
    """Whether they end early, after MAX_BYTES, so that more follow."""


async def fetch_events(connection: AnyConnection, statement: str, *arguments: object, text: str = "text") -> EventRows:
    """Run a statement whose rows have `position`, and `event::text` as the column `text`.

    If an event cannot be written as text, it has no `data` (see `is_whole`), and the rows may end after MAX_BYTES.
    Raises TimeoutError, as any statement, if PostgreSQL does not answer.
    """
    try:
        return EventRows(await _fetch(connection, statement, arguments), is_cut=False)
    except _TOO_LARGE:
        rows = await connection.fetch(EVENT_TEXT.sub("NULL::text", statement), *arguments)
    positions = [row["position"] for row in rows]
    texts = {row["event_position"]: row["event_text"] for row in await connection.fetch(READABLE, positions, MAX_BYTES)}
    found = [{**row, text: texts[row["position"]]} for row in rows if row["position"] in texts]
    return EventRows(found, is_cut=len(found) < len(rows))


def past_events(found: EventRows) -> list[PastEvent]:
    """The events of rows that also have `partition`."""
    return [PastEvent(row["position"], row["partition"], row["text"]) for row in found.rows]


async def _fetch(connection: AnyConnection, statement: str, arguments: Sequence[object]) -> list[asyncpg.Record]:
    if not connection.is_in_transaction():
        return await connection.fetch(statement, *arguments, timeout=SECONDS)
    async with connection.transaction():  # a savepoint: an error must not abort the transaction
        return await connection.fetch(statement, *arguments, timeout=SECONDS)
