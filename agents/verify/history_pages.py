"""Reads the event store in pages, and isolates an event that PostgreSQL cannot read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headrace.errors import HeadraceError
from tables.adaptive_size import AdaptiveSize
from tables.database import TIMED_OUT, Connection, is_away
from tables.history import stored_data
from tables.history.stored_data import StoredData
from tables.unstorable import may_be_of_the_input

POSITIONS_AT_ONCE = 5_000
# Events may be large: bytes that are left out were computed in vain.
FIRST_POSITIONS = 500


class UnreadableHistoryError(HeadraceError):
    """The event store cannot be read at a position."""


class UnreadEvent(NamedTuple):
    """An event that PostgreSQL cannot read."""

    position: int
    type: str
    error: Exception


class HistoryPage(NamedTuple):
    """Some events of the store."""

    rows: Sequence[StoredData]
    end: int
    """The position up to which they were read."""
    unread: UnreadEvent | None = None
    """Instead of rows."""


class HistoryPages:
    """The events up to a position; with `only`, a single type is in `types`, and only its events are read."""

    def __init__(self, connection: Connection, types: Sequence[str], upto: int, *, only: bool) -> None:
        self._connection = connection
        self._types = types
        self._upto = upto
        self._only = only
        self._in_time = AdaptiveSize(POSITIONS_AT_ONCE)
        self._by_bytes = FIRST_POSITIONS

    async def read(self, after: int) -> HistoryPage | None:
        """The page after a position; None at the end. It is smaller if PostgreSQL cannot read as many.

        Raises UnreadableHistoryError, and database errors if PostgreSQL is away.
        """
        while after < self._upto:
            positions = min(self._in_time.events, self._by_bytes)
            try:
                page = await self._read(after, min(after + positions, self._upto))
            except Exception as error:
                if not isinstance(error, TIMED_OUT) and not may_be_of_the_input(error):
                    raise
                if positions == 1:
                    return await self._unread(after + 1, error)
                self._in_time.note_time_out(positions)
            else:
                self._in_time.note_done()
                return page
        return None

    async def _read(self, after: int, upto: int) -> HistoryPage:
        rows, end = await stored_data.read(self._connection, self._types, after=after, upto=upto, only_types=self._only)
        self._by_bytes = min(2 * (end - after), POSITIONS_AT_ONCE)
        return HistoryPage(rows, end)

    async def _unread(self, position: int, error: Exception) -> HistoryPage:
        """If the rest of its row can be read, the event's text is at fault."""
        try:
            event_type = await stored_data.type_at(self._connection, position)
        except Exception as second:
            if is_away(second):
                raise
            raise UnreadableHistoryError(
                f"event_store cannot be read at position {position}: {second}. Later events were not checked. "
                "See the log of PostgreSQL and check its storage; docs/restore.md says how to restore the database."
            ) from error
        if event_type is None:
            return HistoryPage((), position)
        return HistoryPage((), position, UnreadEvent(position, event_type, error))
