"""What Faust itself costs an event: a worker with three agents that do nothing, from a full topic.

CPU time of the whole process, its Kafka client's thread among it, from the first batch to the last, for each event
(not for each event and agent). At low rates a fetch holds few events, and the cost of a fetch is spread over those.
"""

from __future__ import annotations

import asyncio

import msgspec

from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.place import Place
from benchmarks.processes import Running, python
from benchmarks.rows import INTO_OUTBOX, fill

POLL_SECONDS = 0.05
READ_SECONDS = 120.0


class _Result(msgspec.Struct):
    cpu_us: float
    per_s: float


async def measure(place: Place, options: Options) -> Round:
    """Fill a topic, then read it."""
    async with place.system() as system:
        await system.start("ingestion worker", "ingestion")
        await fill(system.connection, INTO_OUTBOX, first=0, events=options.events)
        await system.until_published(options.events)
        await system.stop()
        process = Running(
            python("-m", "benchmarks.noop_agents", str(options.events)),
            place.folder / f"{system.topic}-noop.log",
            {"BROKER_URL": place.kafka.address, "TOPIC": system.topic, "CONSUMER_GROUP": f"{system.topic}_noop"},
        )
        try:
            result = await _result(process)
        finally:
            await process.stop()
    return Round({"faust_cpu_us": result.cpu_us, "noop_per_s": result.per_s}, {})


async def _result(process: Running) -> _Result:
    async with asyncio.timeout(READ_SECONDS):
        while not (line := process.log_tail().rpartition('{"cpu_us"')[2]).endswith("}\n"):
            process.check_alive()
            await asyncio.sleep(POLL_SECONDS)
    return msgspec.json.decode('{"cpu_us"' + line, type=_Result)


FAUST_COST = Comparison(
    "faust_cost",
    "three agents that do nothing",
    [Shown("faust_cpu_us", at_most=5.0), Shown("noop_per_s")],
    measure,
)
