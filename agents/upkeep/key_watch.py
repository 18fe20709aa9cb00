"""Keeps the API keys in memory true: LISTENs for changes, reads them again, and writes when they were last used.

Guarantee: while PostgreSQL answers, a key that is revoked is refused within a second. A black-holed connection raises
no error, hence the reading at intervals: it shows that the connection is alive, and is a second way for a change.
"""

from __future__ import annotations

from agents.notification_listener import NotificationListener
from tables.access import keys
from tables.access.key_cache import KeyCache
from tables.database import Connection, Database

REFRESH_SECONDS = 5.0


class KeyWatch(NotificationListener):
    """Keeps a cache of keys true."""

    def __init__(self, source: Database, cache: KeyCache, *, refresh_seconds: float = REFRESH_SECONDS) -> None:
        super().__init__(source, interval_seconds=refresh_seconds)
        self._cache = cache

    async def listen(self, connection: Connection) -> None:
        await keys.on_change(connection, self._cache.forget)

    async def look(self, connection: Connection) -> None:
        # Keys may have changed while no connection was listening.
        await self._cache.refresh(connection)
        await self._cache.write_uses(connection)
