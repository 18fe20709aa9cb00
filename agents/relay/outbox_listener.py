"""LISTENs for new rows of the outbox and wakes the relay; NOTIFYs the relay of another worker.

Guarantee: while PostgreSQL answers, every notification reaches the relay, or a dead connection is detected within
seconds and replaced, and the relay polls. A black-holed connection raises no error, hence the heartbeat.
"""

from __future__ import annotations

from agents.background import Background
from agents.notification_listener import TIMEOUT_SECONDS, NotificationListener
from headrace.process.waiting import WakeUp
from tables import database
from tables.database import Connection, Database
from tables.intake import outbox

HEARTBEAT_SECONDS = 2.0


class OutboxListener(NotificationListener):
    """Wakes the relay of this worker."""

    def __init__(self, source: Database, wake_up: WakeUp) -> None:
        super().__init__(source, interval_seconds=HEARTBEAT_SECONDS)
        self._wake_up = wake_up

    async def listen(self, connection: Connection) -> None:
        await outbox.on_new_rows(connection, self._wake_up.set)
        # Rows may have been inserted while no connection was listening.
        self._wake_up.set()

    async def look(self, connection: Connection) -> None:
        await connection.execute(database.HEARTBEAT, timeout=TIMEOUT_SECONDS)


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
