"""Brings each projection up to date with the event store when an event handler starts.

Guarantee: a projection that is added to a system with history gets all of it, even if no new events arrive. After a
worker was killed, its projections do not wait for the consumer group to detect that. The progress decides which events
are applied, so this and the agents may process the same events concurrently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from agents.background import Background
from agents.projector.projector import CATCH_UP_PAUSE_SECONDS, Projector


class CatchUp(Background):
    """Runs once after each start; resumes with the unfinished projection after a PostgreSQL outage."""

    def __init__(self, projectors: Sequence[Projector[Any]]) -> None:
        super().__init__()
        self._waiting = list(projectors)
        self._stop = asyncio.Event()

    @property
    def unfinished(self) -> list[str]:
        """The projections that are not up to date yet."""
        return sorted(projector.name for projector in self._waiting)

    def wake(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        while self._waiting and not self.should_stop:
            projector = self._waiting[0]
            if await projector.catch_up():
                self._waiting.remove(projector)
            else:  # it does not hold up the other projections
                self._waiting.append(self._waiting.pop(0))
                await self.sleep(CATCH_UP_PAUSE_SECONDS)
        await self._stop.wait()
