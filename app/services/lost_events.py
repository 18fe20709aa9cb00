"""What `/readyz?verbose` reports of events that the event store lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from tables.database import Database
from tables.history import epochs
from tables.history.epochs import LostEvents


def lost_events_of(database: Database) -> Callable[[], Awaitable[Sequence[LostEvents]]]:
    """A report on what relays found at their connects."""

    async def lost_events() -> Sequence[LostEvents]:
        async with database.acquire("rows") as connection:
            return await epochs.lost_events(connection)

    return lost_events
