"""Once a second, moves the progress of idle partitions up to the head of the store.

Guarantee: only a partition whose every stored event is applied is moved (see `tables.positions`), so the position of
a projection is told without a long look back, and a new event on an idle partition is found at once.
"""

from __future__ import annotations

from agents.background import Background
from headrace.process.waiting import WakeUp
from tables.database import Database
from tables.projections import positions

INTERVAL_SECONDS = 1.0


class IdlePartitions(Background):
    """Runs in every event handler; they do not disturb each other."""

    def __init__(self, source: Database) -> None:
        super().__init__()
        self._source = source
        self._wake_up = WakeUp()

    def wake(self) -> None:
        self._wake_up.set()

    async def run(self) -> None:
        while not self.should_stop:
            async with self._source.acquire() as connection:
                await positions.advance_idle_partitions(connection)
            await self._wake_up.wait(INTERVAL_SECONDS)
