"""Detects a stalled projection and restarts it; if that does not help, stops the worker.

Guarantee: a projection is restarted with its current batch if it has published events to apply in partitions of this
worker, and its progress moves in none of them for `stall_seconds`. If it stalls again for that long, the worker stops
with a message that names it. Neither loses events: unapplied events are not acknowledged.

Time counts only while PostgreSQL and Kafka answer and the disk has space, and only for partitions of this worker. It is
measured in checks, not by the clock, so that a worker that was frozen gets a chance to recover.

Faust's own `agent.restart()` is not used. The current batch has left its queue, so it would be neither redelivered nor
acknowledged, and no later offset would be committed. Instead, the attempt in flight is cancelled inside the agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from agents.background import Background
from headrace.errors import HeadraceError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.waiting import WakeUp
from tables.database import Database
from tables.intake.disk_space import DiskSpace
from tables.projections.stalls import waiting

MAX_INTERVAL_SECONDS = 5.0
CHECKS_PER_STALL = 10
BROKER_SECONDS = 5.0

log = ActionLog(__name__)


class StalledError(HeadraceError):
    """A projection is stalled."""


@dataclass
class _Stall:
    progress: Mapping[int, int]
    unchanged_checks: int = 0
    restarted: bool = False

    def has_moved(self, now: Mapping[int, int]) -> bool:
        return any(now.get(partition) != position for partition, position in self.progress.items())


class StallDetector(Background):
    """Runs in every event handler, for the partitions assigned to this worker."""

    cancel_on_stop = True

    def __init__(
        self,
        source: Database,
        restarts: Mapping[str, Callable[[], None]],
        *,
        partitions: Callable[[], frozenset[int]],
        broker_answers: Callable[[], Awaitable[object]],
        disk_space: DiskSpace,
        stall_seconds: float,
    ) -> None:
        """`restarts` has a function for each projection; `partitions` returns the partitions assigned to this worker.

        `broker_answers` raises KafkaError, OSError or TimeoutError if Kafka is unavailable.
        """
        super().__init__()
        self._source = source
        self._restarts = restarts
        self._partitions = partitions
        self._broker_answers = broker_answers
        self._disk_space = disk_space
        self._stall_seconds = stall_seconds
        self._interval_seconds = min(stall_seconds / CHECKS_PER_STALL, MAX_INTERVAL_SECONDS)
        self._wake_up = WakeUp()
        self._stalls: dict[str, _Stall] = {}
        self._last_partitions: frozenset[int] = frozenset()

    @property
    def stalled(self) -> list[str]:
        """The projections that have not moved for `stall_seconds`, although they could."""
        return sorted(name for name, stall in self._stalls.items() if stall.restarted)

    def wake(self) -> None:
        self._wake_up.set()

    async def run(self) -> None:
        self._stalls.clear()
        while not self.should_stop:
            await self.check()
            await self._wake_up.wait(self._interval_seconds)

    async def check(self) -> None:
        """Check all projections once. Raises StalledError if a projection has stalled again after its restart."""
        partitions = self._partitions()
        if partitions != self._last_partitions or self._disk_space.is_full:
            self._last_partitions = partitions
            self._stalls.clear()
        if not partitions:
            return
        async with self._source.acquire() as connection:
            found = await waiting(connection, list(self._restarts), partitions)
        for projection in self._restarts:
            await self._compare(projection, found.get(projection, {}))

    async def _compare(self, projection: str, progress: Mapping[int, int]) -> None:
        stall = self._stalls.get(projection)
        if not progress:
            self._stalls.pop(projection, None)
        elif stall is None or stall.has_moved(progress):
            self._stalls[projection] = _Stall(progress)
        else:
            stall.progress = progress
            stall.unchanged_checks += 1
            if stall.unchanged_checks * self._interval_seconds >= self._stall_seconds:
                await self._act(projection, stall)

    async def _act(self, projection: str, stall: _Stall) -> None:
        try:
            async with asyncio.timeout(BROKER_SECONDS):
                await self._broker_answers()
        except (KafkaError, OSError, TimeoutError):
            self._stalls.clear()
            return
        where = ", ".join(f"{partition} at position {at}" for partition, at in sorted(stall.progress.items()))
        told = f"Projection {projection} has not moved for {self._stall_seconds:g} s (partition {where})"
        if stall.restarted:
            raise StalledError(f"{told}, although it was restarted. This worker stops; restart it.")
        log.error(
            LogAction.PROJECTION_STALLED,
            "Projection {projection} has not moved for {seconds:g} s (last position by partition: {positions}); "
            "restarting it",
            projection=projection,
            seconds=self._stall_seconds,
            positions=stall.progress,
        )
        self._restarts[projection]()
        self._stalls[projection] = _Stall(stall.progress, restarted=True)
