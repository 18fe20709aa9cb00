"""One event handler, and two that share the partitions, from a full topic: what a second one brings.

The handlers work, are paused (SIGSTOP) while the topic is filled, and go on. `busy` is how many CPUs were in use by
all that takes part: where it reaches the number of CPUs, a second handler can bring no more on this machine.
"""

from __future__ import annotations

import asyncio
import signal

from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.place import Place
from benchmarks.projector import APPLIED, INGESTION, Measured, time_applied
from benchmarks.rows import INTO_OUTBOX, fill
from benchmarks.system import System

POLL_SECONDS = 0.1
JOIN_SECONDS = 60.0
STABLE = "Stable"


async def measure(place: Place, options: Options) -> Round:
    """One, then two."""
    one, one_cpu = await _measure(place, options.events, handlers=1)
    two, two_cpu = await _measure(place, options.events, handlers=2)
    return Round(
        {
            "two_to_one": two / one,
            "one_per_s": one,
            "two_per_s": two,
            "one_busy": one * sum(one_cpu.values()) / 1e6,
            "two_busy": two * sum(two_cpu.values()) / 1e6,
        },
        {"one": one_cpu, "two": two_cpu},
    )


async def _measure(place: Place, events: int, *, handlers: int) -> Measured:
    async with place.system() as system:
        ingestion = await system.start(INGESTION, "ingestion")
        workers = [await system.start(f"event handler {number}", "event_handler") for number in range(1, handlers + 1)]
        await _until_shared(place.bootstrap_servers, system, handlers)
        before = await system.warm_up(ingestion)
        await system.stop(INGESTION)
        await fill(system.connection, INTO_OUTBOX, first=0, events=events)
        for worker in workers:
            worker.process.send(signal.SIGSTOP)
        await system.start(INGESTION, "ingestion")
        await system.until_published(before + events)
        await system.stop(INGESTION)
        for worker in workers:
            worker.process.send(signal.SIGCONT)
        return await time_applied(system, APPLIED, before)


async def _until_shared(bootstrap_servers: str, system: System, handlers: int) -> None:
    """Return when so many are in the group and it is at rest: each has its partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        async with asyncio.timeout(JOIN_SECONDS):
            while await _members(admin, system.topic) != handlers:  # noqa: ASYNC110 - the broker's state
                await asyncio.sleep(POLL_SECONDS)
    finally:
        await admin.close()


async def _members(admin: AIOKafkaAdminClient, group: str) -> int:
    (description,) = await admin.describe_consumer_groups([group])
    (_, _, state, _, _, members, *_) = description.groups[0]
    return len(members) if state == STABLE else 0


CORES = Comparison(
    "cores",
    "a second event handler",
    [Shown("two_to_one"), Shown("one_per_s"), Shown("two_per_s"), Shown("one_busy"), Shown("two_busy")],
    measure,
)
