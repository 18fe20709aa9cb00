"""How fast one event handler applies many events: from the topic, and as a new one that reads the history.

`topic`: an event handler that works is paused (SIGSTOP), the events are stored and published, and it goes on. What it
missed comes from Kafka alone, for the event store is read at its start only. The time is from when the first
transaction is seen, so the rebalance after the pause is not in it; the events of that transaction do not count.

`history`: progress and projections are emptied and an event handler with a new consumer group starts. It reads the
event store (agents/projector/catch_up.py) while its agents consume the topic from the beginning; which of the two
applies an event is a race that the progress decides. The time is from the first progress it notes.

Both end when all three projections have applied everything. Quix Streams (benchmarks/quix.py) reads the same topic.
"""

from __future__ import annotations

import signal
import time

from benchmarks.check import check_everything
from benchmarks.client import post_batches
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.place import Place
from benchmarks.quix import measure_quix
from benchmarks.system import PROJECTIONS, System

SECONDS = 5.0
BATCH = 1_000
INGESTION, HANDLER = "ingestion worker", "event handler worker"
NOTED = "SELECT count(*) FROM progress"
APPLIED = "SELECT coalesce(max(position), 0) FROM progress"
PROGRESS = "SELECT partition, position FROM progress"
# What was applied at that progress, added up over the projections.
APPLIED_THEN = """
SELECT count(*) FROM unnest($1::integer[], $2::bigint[]) AS p (partition, position)
JOIN event_store AS e ON e.partition = p.partition AND e.position > $3 AND e.position <= p.position
"""
EMPTY = "TRUNCATE projections, progress"

Measured = tuple[float, dict[str, float]]


async def measure(place: Place, options: Options) -> Round:
    """A single event handler; the ingestion worker is stopped before the handler resumes."""
    bare, bare_cpu = await place.bare_posts(options.seconds or SECONDS)
    async with place.system() as system:
        from_topic, topic_cpu = await _topic(system, options.events)
        await system.stop(HANDLER)
        quix, quix_cpu = await measure_quix(place, system.topic)
        await system.connection.execute(EMPTY)
        with_history, history_cpu = await _history(system)
    return Round(
        {
            "topic_per_s": from_topic,
            "history_per_s": with_history,
            "topic_ratio": from_topic / bare.per_second,
            "history_ratio": with_history / bare.per_second,
            "times_quix": from_topic / quix,
            "quix_per_s": quix,
            "bare_per_s": bare.per_second,
        },
        {"baseline": bare_cpu, "topic": topic_cpu, "history": history_cpu, "quix": quix_cpu},
    )


async def _topic(system: System, events: int) -> Measured:
    ingestion = await system.start(INGESTION, "ingestion")
    handler = await system.start(HANDLER, "event_handler")
    before = await system.warm_up(ingestion)
    handler.process.send(signal.SIGSTOP)
    await post_batches(ingestion.ingestion_port, "run", events=events, size=BATCH)
    await system.until_published(before + events)
    await system.stop(INGESTION)
    handler.process.send(signal.SIGCONT)
    return await time_applied(system, APPLIED, before)


async def _history(system: System) -> Measured:
    await system.start(HANDLER, "event_handler", CONSUMER_GROUP=f"{system.topic}_new")
    return await time_applied(system, NOTED, 0)


async def time_applied(system: System, sign: str, before: int) -> Measured:
    """Events a second from when `sign` is past `before` until all is applied, and CPU microseconds an event."""

    async def started() -> int:
        number: int = await system.connection.fetchval(sign)
        return number

    await system.until(started, before + 1)
    start, meter = time.perf_counter(), system.cpu_meter()
    progress = await system.connection.fetch(PROGRESS)
    stored = await system.last_position()
    await system.until(system.projected, stored)
    seconds = time.perf_counter() - start
    meter.stop()
    columns = [row["partition"] for row in progress], [row["position"] for row in progress]
    applied_then = await system.connection.fetchval(APPLIED_THEN, *columns, before)
    events = stored - before - round(applied_then / len(PROJECTIONS))
    cpu = meter.microseconds(events)
    await check_everything(system.connection, accepted=stored)
    return events / seconds, cpu


PROJECTOR = Comparison(
    "projector",
    "one event handler alone",
    [
        Shown("topic_per_s", at_least=20_000),
        Shown("history_per_s", at_least=20_000),
        Shown("topic_ratio"),
        Shown("history_ratio"),
        Shown("times_quix", label="projector, of Quix Streams"),
        Shown("quix_per_s"),
    ],
    measure,
)
