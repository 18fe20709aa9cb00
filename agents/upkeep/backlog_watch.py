"""Measures the backlog of the outbox once a second, so that ingestion need not query it for each request.

Guarantee: the outbox exceeds its limits by at most what is accepted between two measurements.
"""

from __future__ import annotations

import time

from agents.background import Background
from headrace.process.waiting import WakeUp
from tables.database import Database
from tables.intake.backlog import Backlog, measure

INTERVAL_SECONDS = 1.0


class BacklogWatch(Background):
    """Runs in every worker that accepts events. While PostgreSQL is unavailable, the backlog is unknown."""

    cancel_on_stop = True

    def __init__(self, source: Database, backlog: Backlog) -> None:
        super().__init__()
        self._source = source
        self._backlog = backlog
        self._wake_up = WakeUp()

    def wake(self) -> None:
        self._wake_up.set()

    async def run(self) -> None:
        try:
            while not self.should_stop:
                async with self._source.acquire() as connection:
                    depth = await measure(connection)
                self._backlog.note(depth, at=time.monotonic())
                await self._wake_up.wait(INTERVAL_SECONDS)
        finally:
            self._backlog.forget()
