"""The common shape of a service that LISTENs: a connection of its own, and proof at intervals that it is alive."""

from __future__ import annotations

import asyncio

from agents.background import Background
from tables import database
from tables.database import Connection, Database

TIMEOUT_SECONDS = 3.0


class NotificationListener(Background):
    """Keeps a dedicated LISTEN connection, never in a transaction.

    A black-holed connection raises no error, hence `look`.
    """

    def __init__(self, source: Database, *, interval_seconds: float) -> None:
        super().__init__()
        self._source = source
        self._interval_seconds = interval_seconds
        self._lost = asyncio.Event()

    async def listen(self, connection: Connection) -> None:
        """LISTEN on a new connection. There may have been notifications while there was none."""
        raise NotImplementedError

    async def look(self, connection: Connection) -> None:
        """Ask something, first of all and at each interval: it shows that the connection is alive."""
        raise NotImplementedError

    def wake(self) -> None:
        self._lost.set()

    async def run(self) -> None:
        connection = await database.connect(self._source.dsn, timeout_seconds=TIMEOUT_SECONDS)
        self._lost.clear()
        try:
            connection.add_termination_listener(lambda _: self._lost.set())
            await self.listen(connection)
            while not self.should_stop and not self._lost.is_set():
                await self.look(connection)
                try:
                    async with asyncio.timeout(self._interval_seconds):
                        await self._lost.wait()
                except TimeoutError:
                    continue
        finally:
            database.drop(connection)
