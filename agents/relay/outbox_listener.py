"""LISTENs for new rows of the outbox and wakes the relay; NOTIFYs the relay of another worker.

Guarantee: while PostgreSQL answers, every notification reaches the relay, or a dead connection is detected within
seconds and replaced, and the relay polls. A black-holed connection raises no error, hence the heartbeat.
"""

from __future__ import annotations

import asyncio

from agents.background import Background
from headrace.process.waiting import WakeUp
from tables import database
from tables.database import Database
from tables.intake import outbox

HEARTBEAT_SECONDS = 2.0
TIMEOUT_SECONDS = 3.0


class OutboxListener(Background):
    """Keeps a dedicated LISTEN connection, never in a transaction."""

    def __init__(self, source: Database, wake_up: WakeUp) -> None:
        super().__init__()
        self._source = source
        self._wake_up = wake_up
        self._lost = asyncio.Event()

    def wake(self) -> None:
        self._lost.set()

    async def run(self) -> None:
        connection = await database.connect(self._source.dsn, timeout_seconds=TIMEOUT_SECONDS)
        self._lost.clear()
        try:
            connection.add_termination_listener(lambda _: self._lost.set())
            await outbox.on_new_rows(connection, self._wake_up.set)
            # Rows may have been inserted while no connection was listening.
            self._wake_up.set()
            while not self.should_stop and not self._lost.is_set():
                await connection.execute(database.HEARTBEAT, timeout=TIMEOUT_SECONDS)
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await self._lost.wait()
                except TimeoutError:
                    continue
        finally:
            database.drop(connection)


class OutboxNotifier(Background):
    """NOTIFYs the relay in another worker, one NOTIFY at a time; commits during a NOTIFY share the next."""

    def __init__(self, source: Database) -> None:
        super().__init__()
        self._source = source
        self._wake_up = WakeUp()

    def wake(self) -> None:
        """Request a NOTIFY; several requests before it is sent share it."""
        self._wake_up.set()

    async def run(self) -> None:
        while not self.should_stop:
            if await self._wake_up.wait(HEARTBEAT_SECONDS):
                async with self._source.acquire() as connection:
                    await outbox.wake_relay(connection)
