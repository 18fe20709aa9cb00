"""Opens the database for everyone in this worker, once its tables are as this version needs them."""

from __future__ import annotations

import asyncio
import logging

from agents.background import Background
from tables import database
from tables.database import Database
from tables.migrate import migrate

CONNECT_SECONDS = 5.0
FIRST_LOOK_SECONDS = 5.0

log = logging.getLogger(__name__)


class Storage(Background):
    """Migrates, then opens; before that, and when the server is away, everyone is told that PostgreSQL is away."""

    def __init__(self, source: Database, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._source = source
        self._opened = asyncio.Event()
        self._stop = asyncio.Event()

    def use(self, dsn: str) -> None:
        """The address, when it is known only after the embedded server's start."""
        self._dsn = dsn

    async def on_started(self) -> None:
        """Give a server that is there the time to be ready before the next service starts; do not insist."""
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._opened.wait()
        except TimeoutError:
            log.warning("PostgreSQL does not answer yet; requests are answered 503 until it does.")

    def wake(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        connection = await database.connect(self._dsn, timeout_seconds=CONNECT_SECONDS)
        try:
            for name in await migrate(connection):
                log.info("Applied migration %s.", name)
        finally:
            database.drop(connection)
        await self._source.open(self._dsn)
        self._opened.set()
        await self._stop.wait()

    async def on_stop(self) -> None:
        await super().on_stop()
        self._source.close()
