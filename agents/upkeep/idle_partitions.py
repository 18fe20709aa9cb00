"""Advances the progress of idle partitions to the end of the event store, once a second.

Guarantee: only a partition whose stored events are all applied is advanced (see `tables.projections.positions`). So a
query for the first unapplied event never scans far, even if its partition was idle for long.
"""

from __future__ import annotations

from agents.background import Background
from headrace.process.waiting import WakeUp
from tables.database import Database
from tables.projections import positions

INTERVAL_SECONDS = 1.0


class IdlePartitions(Background):
    """Runs in every event handler; concurrent runs do not interfere with each other."""

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
