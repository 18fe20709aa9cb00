"""Finds a projection that does not move although it could, begins it anew, and then ends the worker.

Guarantee: a projection that has published events to apply in a partition of this worker, and whose progress does not
move in any of them for `stall_seconds`, begins anew with what it has in hand; when it has not moved for that long
again, the worker ends with a line that names it. Nothing is lost by either: what is not applied is not acknowledged.

Nobody is blamed for what others do: time counts only while PostgreSQL and Kafka answer and the disk has room, and only
partitions that this worker has. It is counted in looks, not by the clock, so a worker that was frozen has its chance.

Faust's own `agent.restart()` is not used: the batch in hand is taken from its queue and would not come again, nor would
it be acknowledged, so that nothing after it is committed. What is under way is cancelled instead, inside the agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from agents.background import Background
from headrace.errors import HeadraceError
from headrace.process.waiting import WakeUp
from tables.database import Database
from tables.intake.disk_space import DiskSpace
from tables.projections.stalls import waiting

MOST_INTERVAL_SECONDS = 5.0
LOOKS = 10
BROKER_SECONDS = 5.0

log = logging.getLogger(__name__)


class StalledError(HeadraceError):
    """A projection does not move."""


@dataclass
class _Standstill:
    progress: Mapping[int, int]
    looks: int = 0
    begun_anew: bool = False

    def has_moved(self, now: Mapping[int, int]) -> bool:
        return any(now.get(partition) != position for partition, position in self.progress.items())


class StallDetector(Background):
    """Runs in every event handler."""

    needs = "PostgreSQL to see whether the projections move"
    only_looks = True

    def __init__(
        self,
        source: Database,
        begin_anew: Mapping[str, Callable[[], None]],
        *,
        partitions: Callable[[], frozenset[int]],
        broker_answers: Callable[[], Awaitable[object]],
        disk_space: DiskSpace,
        stall_seconds: float,
    ) -> None:
        """`begin_anew`: by projection; `partitions`: those that this worker has now; `broker_answers` raises KafkaError
        or OSError when Kafka is away."""
        super().__init__()
        self._source = source
        self._begin_anew = begin_anew
        self._partitions = partitions
        self._broker_answers = broker_answers
        self._disk_space = disk_space
        self._stall_seconds = stall_seconds
        self._interval_seconds = min(stall_seconds / LOOKS, MOST_INTERVAL_SECONDS)
        self._wake_up = WakeUp()
        self._waits: dict[str, _Standstill] = {}
        self._seen_partitions: frozenset[int] = frozenset()

    def wake(self) -> None:
        self._wake_up.set()

    async def run(self) -> None:
        self._waits.clear()
        while not self.should_stop:
            await self.look()
            await self._wake_up.wait(self._interval_seconds)

    async def look(self) -> None:
        """One look. Raises StalledError when a projection has not moved although it was begun anew."""
        partitions = self._partitions()
        if partitions != self._seen_partitions or self._disk_space.is_full:
            self._seen_partitions = partitions
            self._waits.clear()
        if not partitions:
            return
        async with self._source.acquire() as connection:
            found = await waiting(connection, list(self._begin_anew), partitions)
        for projection in self._begin_anew:
            await self._compare(projection, found.get(projection, {}))

    async def _compare(self, projection: str, progress: Mapping[int, int]) -> None:
        wait = self._waits.get(projection)
        if not progress:
            self._waits.pop(projection, None)
        elif wait is None or wait.has_moved(progress):
            self._waits[projection] = _Standstill(progress)
        else:
            wait.progress = progress
            wait.looks += 1
            if wait.looks * self._interval_seconds >= self._stall_seconds:
                await self._act(projection, wait)

    async def _act(self, projection: str, wait: _Standstill) -> None:
        try:
            async with asyncio.timeout(BROKER_SECONDS):
                await self._broker_answers()
        except (KafkaError, OSError, TimeoutError):
            self._waits.clear()
            return
        where = ", ".join(f"{partition} at position {at}" for partition, at in sorted(wait.progress.items()))
        told = f"Projection {projection} has not moved for {self._stall_seconds:g} s (partition {where})"
        if wait.begun_anew:
            raise StalledError(f"{told}, although it was begun anew. This worker ends; start it again.")
        log.error("%s; it begins anew.", told)
        self._begin_anew[projection]()
        self._waits[projection] = _Standstill(wait.progress, begun_anew=True)
