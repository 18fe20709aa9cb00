"""When an event handler starts, brings each projection up to the event store.

Guarantee: a projection that was added to a system with history gets all of it, even where no new event comes; one
whose worker was killed does not wait for the consumer group to notice. The progress decides what is applied, so this
and the agents may do the same events at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from agents.background import Background
from agents.projector.projector import Projector


class CatchUp(Background):
    """Works once, after each start; begins again when PostgreSQL was away."""

    def __init__(self, projectors: Sequence[Projector[Any]]) -> None:
        super().__init__()
        self._waiting = list(projectors)
        self._stop = asyncio.Event()

    def wake(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        while self._waiting and not self.should_stop:
            await self._waiting[0].catch_up()
            del self._waiting[0]
        await self._stop.wait()
