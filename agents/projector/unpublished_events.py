"""Applies events that the broker refused, from the event store, within a second.

Guarantee: an event that is not on the topic is applied even if no later event of its partition follows. The progress
decides which events are applied, so this and the agents may process the same events concurrently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.background import Background
from agents.projector.projector import Projector
from headrace.process.waiting import WakeUp
from tables.database import Database
from tables.intake import unpublished

INTERVAL_SECONDS = 1.0


class UnpublishedEvents(Background):
    """Runs in every event handler; concurrent runs do not interfere with each other."""

    def __init__(self, source: Database, projectors: Mapping[str, Projector[Any]]) -> None:
        super().__init__()
        self._source = source
        self._projectors = projectors
        self._wake_up = WakeUp()

    def wake(self) -> None:
        self._wake_up.set()

    async def run(self) -> None:
        while not self.should_stop:
            async with self._source.acquire() as connection:
                found = await unpublished.unapplied(connection, list(self._projectors))
            for event in found:
                await self._projectors[event.projection].catch_up_with(event.partition, event.position)
            await self._wake_up.wait(INTERVAL_SECONDS)
