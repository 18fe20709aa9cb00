"""Once a second, looks how much waits in the outbox, so that the door need not ask for each request.

Guarantee: the outbox outgrows its limits by no more than what is accepted between two looks.
"""

from __future__ import annotations

import time

from agents.background import Background
from headrace.process.waiting import WakeUp
from tables.database import Database
from tables.intake.backlog import Backlog, look

INTERVAL_SECONDS = 1.0


class BacklogWatch(Background):
    """Runs in every worker that takes events in."""

    only_looks = True

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
                    depth = await look(connection)
                self._backlog.note(depth, at=time.monotonic())
                await self._wake_up.wait(INTERVAL_SECONDS)
        finally:
            self._backlog.forget()
