"""Events that waited in the outbox while Kafka was away: how evenly they drain, and in how much memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from statistics import median

from app.embedded.ports import free_port

from benchmarks.check import check_everything
from benchmarks.client import post_batches
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.place import Place
from benchmarks.system import System, Worker

SECONDS = 5.0
BATCH = 1_000
TENTHS = 10
LOOK_SECONDS = 0.1
INGESTION, HANDLER = "ingestion worker", "event handler worker"


async def measure(place: Place, options: Options) -> Round:
    """Accept without Kafka, then drain by a new worker with ingestion alone, then project, for the check."""
    rows = options.backlog
    bare, bare_cpu = await place.bare_posts(options.seconds or SECONDS)
    async with place.system() as system:
        accepted_per_s, accept_memory, accept_cpu = await _accept(system, rows)
        worker = await system.start(INGESTION, "ingestion")
        before, meter = await system.last_position(), system.cpu_meter()
        async with watched(worker) as memory:
            reached = await _drain(system, rows)
        drain_cpu = meter.microseconds(rows - before)
        await system.stop(INGESTION)
        await system.start(HANDLER, "event_handler")
        await system.until_projected(rows)
        await check_everything(system.connection, accepted=rows)
    rates = [_per_second(*ends) for ends in pairwise(reached)]
    per_second = _per_second(reached[0], reached[-1])
    return Round(
        {
            "drained_per_s": per_second,
            "ratio": per_second / bare.per_second,
            "slowest_tenth_to_median": min(rates) / median(rates),
            "memory_mb": max(memory.most, accept_memory.most) / 1e6,
            "accepted_per_s": accepted_per_s,
            "bare_per_s": bare.per_second,
            **{f"tenth_{place}_per_s": rate for place, rate in enumerate(rates, 1)},
        },
        {"baseline": bare_cpu, "accept": accept_cpu, "drain": drain_cpu},
    )


class Memory:
    """The most resident memory of a worker that was seen, in bytes."""

    def __init__(self, worker: Worker) -> None:
        self.most = 0
        self._process = worker.process.measured

    async def watch(self) -> None:
        """See how much it is, again and again, until cancelled."""
        while True:
            self.most = max(self.most, self._process.memory_info().rss)
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def watched(worker: Worker) -> AsyncIterator[Memory]:
    """Watches a worker's memory meanwhile."""
    memory = Memory(worker)
    watching = asyncio.create_task(memory.watch())
    try:
        yield memory
    finally:
        watching.cancel()


def _per_second(start: tuple[float, int], end: tuple[float, int]) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])


async def _accept(system: System, rows: int) -> tuple[float, Memory, dict[str, float]]:
    worker = await system.start(INGESTION, "ingestion", BROKER_URL=f"kafka://127.0.0.1:{free_port(but=0)}")
    meter, start = system.cpu_meter(), time.perf_counter()
    async with watched(worker) as memory:
        await post_batches(worker.ingestion_port, "run", events=rows, size=BATCH)
    seconds, cpu = time.perf_counter() - start, meter.microseconds(rows)
    await system.stop(INGESTION)
    return rows / seconds, memory, cpu


async def _drain(system: System, rows: int) -> list[tuple[float, int]]:
    """When each tenth of the rows was stored, and how many rows exactly it was; from the first rows on."""
    reached: list[tuple[float, int]] = []
    await system.until(system.last_position, 1)
    reached.append((time.perf_counter(), await system.last_position()))
    for tenth in range(1, TENTHS + 1):
        await system.until(system.last_position, rows * tenth // TENTHS)
        reached.append((time.perf_counter(), await system.last_position()))
    await system.until_published(rows)
    return reached


BACKLOG = Comparison(
    "backlog",
    "an outbox drains after Kafka was away",
    [
        Shown("slowest_tenth_to_median", at_least=0.8),
        Shown("memory_mb", at_most=250),
        Shown("drained_per_s"),
        Shown("ratio"),
    ],
    measure,
)
