"""Keeps the API keys in memory true: LISTENs for changes, reads them again, and writes when they were last used.

Guarantee: while PostgreSQL answers, a key that is revoked is refused within a second. A black-holed connection raises
no error, hence the reading at intervals: it shows that the connection is alive, and is a second way for a change.
"""

from __future__ import annotations

import asyncio

from agents.background import Background
from tables import database
from tables.access import keys
from tables.access.key_cache import KeyCache
from tables.database import Database

REFRESH_SECONDS = 5.0
TIMEOUT_SECONDS = 3.0


class KeyWatch(Background):
    """Keeps a dedicated LISTEN connection, never in a transaction."""

    def __init__(self, source: Database, cache: KeyCache, *, refresh_seconds: float = REFRESH_SECONDS) -> None:
        super().__init__()
        self._source = source
        self._cache = cache
        self._refresh_seconds = refresh_seconds
        self._lost = asyncio.Event()

    def wake(self) -> None:
        self._lost.set()

    async def run(self) -> None:
        connection = await database.connect(self._source.dsn, timeout_seconds=TIMEOUT_SECONDS)
        self._lost.clear()
        try:
            connection.add_termination_listener(lambda _: self._lost.set())
            await keys.on_change(connection, self._cache.forget)
            while not self.should_stop and not self._lost.is_set():
                # First of all: keys may have changed while no connection was listening.
                await self._cache.refresh(connection)
                await self._cache.write_uses(connection)
                try:
                    async with asyncio.timeout(self._refresh_seconds):
                        await self._lost.wait()
                except TimeoutError:
                    continue
        finally:
            database.drop(connection)
