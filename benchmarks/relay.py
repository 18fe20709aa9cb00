"""From an outbox to a topic: our relay, and Debezium Server's outbox event router, from a backlog of the same rows.

Both run and have relayed some rows, are paused (SIGSTOP) while the backlog is committed (in transactions of 1,000
rows), and go on. The rate is from the first new record that is seen on the topic to the last. For us the last one
means too that the row is in the event store and deleted from the outbox, which Debezium does not do. CPU time is that
of the relaying process (Debezium: the JVM) and of all of PostgreSQL (its walsender, our statements, the background),
from when they go on, for each row; Kafka's and the client's is not counted.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable

from tables.intake.outbox import wake_relay

from benchmarks.check import check_counts
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.cpu import CLIENT, CpuMeter
from benchmarks.debezium import INTO_DEBEZIUM, debezium
from benchmarks.logical_postgres import LogicalPostgres, logical_postgres
from benchmarks.place import KAFKA, Place
from benchmarks.processes import Running
from benchmarks.rows import INTO_OUTBOX, fill, number_of
from benchmarks.topic_records import Topic, check_records, open_topic

# A JVM needs some to compile what runs often; ours needs none, and gets as many.
WARM_UP_ROWS = 100_000
WORKER = "ingestion worker"
NOT_COUNTED = {KAFKA, CLIENT}

Measured = tuple[float, dict[str, float]]
# Commits rows from a number on, so many; returns when all that follows from the rows is done.
Commit = Callable[[int, int], Awaitable[None]]
Done = Callable[[], Awaitable[None]]


async def measure(place: Place, options: Options) -> Round:
    """Debezium, then ours, in databases of one server with wal_level=logical."""
    rows = options.events
    async with logical_postgres(place) as postgres:
        their_rate, their_cpu = await _debezium(place, postgres, rows)
        our_rate, our_cpu = await _ours(place, postgres, rows)
    ours, theirs = _counted(our_cpu), _counted(their_cpu)
    return Round(
        {
            "relay_per_s": our_rate,
            "debezium_per_s": their_rate,
            "times_debezium": our_rate / their_rate,
            "relay_cpu_us": ours,
            "debezium_cpu_us": theirs,
            "cpu_share": ours / theirs,
        },
        {"relay": our_cpu, "debezium": their_cpu},
    )


async def _ours(place: Place, postgres: LogicalPostgres, rows: int) -> Measured:
    async with place.system(postgres=postgres.server) as system:
        worker = await system.start(WORKER, "ingestion")

        async def commit(first: int, events: int) -> None:
            await fill(system.connection, INTO_OUTBOX, first=first, events=events)
            await wake_relay(system.connection)

        await commit(0, WARM_UP_ROWS)
        await system.until_published(WARM_UP_ROWS)
        async with open_topic(place.bootstrap_servers, system.topic) as topic:

            async def done() -> None:
                await system.until_published(WARM_UP_ROWS + rows)

            measured = await _drain(topic, worker.process, rows, cpu_meter=system.cpu_meter, commit=commit, done=done)
        await check_counts(system.connection, accepted=WARM_UP_ROWS + rows, unanswered=0)
    return measured


async def _debezium(place: Place, postgres: LogicalPostgres, rows: int) -> Measured:
    async with debezium(place, postgres) as peer, open_topic(place.bootstrap_servers, peer.name) as topic:

        async def commit(first: int, events: int) -> None:
            await fill(peer.connection, INTO_DEBEZIUM, first=first, events=events)

        async def done() -> None:
            """Its work ends at the topic."""

        await commit(0, WARM_UP_ROWS)
        await topic.until(WARM_UP_ROWS, peer.process.check_alive)
        return await _drain(
            topic, peer.process, rows, cpu_meter=lambda: CpuMeter(peer.processes), commit=commit, done=done
        )


async def _drain(
    topic: Topic, process: Running, rows: int, *, cpu_meter: Callable[[], CpuMeter], commit: Commit, done: Done
) -> Measured:
    """Rows a second and CPU microseconds a row. Raises RoundFailedError unless every record is right."""
    process.send(signal.SIGSTOP)
    await commit(WARM_UP_ROWS, rows)
    meter = cpu_meter()
    process.send(signal.SIGCONT)
    start, at_start = await topic.until(WARM_UP_ROWS + 1, process.check_alive)
    await topic.until(WARM_UP_ROWS + rows, process.check_alive)
    await done()
    seconds = time.perf_counter() - start
    cpu = meter.microseconds(rows)
    check_records(await topic.records(), number_of=number_of, numbers=range(WARM_UP_ROWS + rows))
    return (WARM_UP_ROWS + rows - at_start) / seconds, cpu


def _counted(cpu: dict[str, float]) -> float:
    return sum(microseconds for kind, microseconds in cpu.items() if kind not in NOT_COUNTED)


RELAY = Comparison(
    "relay",
    "relay from a backlog, against Debezium Server",
    [
        Shown("times_debezium", at_least=1.0, label="relay, of Debezium Server"),
        Shown("cpu_share", at_most=0.5),
        Shown("relay_per_s"),
        Shown("debezium_per_s"),
        Shown("relay_cpu_us"),
        Shown("debezium_cpu_us"),
    ],
    measure,
)
