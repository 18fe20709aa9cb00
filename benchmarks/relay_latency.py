"""From the insert to a consumer of the topic, at 500 a second, come what may: our relay and Debezium Server.

`insert`: the client inserts in SQL, one event a commit, over as many connections for both; ours by the function that
the door uses, and then wakes the relay as a door in another worker does (NOTIFY). `post`: the client posts to our
door, so HTTP and validation are in it too. Debezium runs at its defaults, and again, `tuned`, with a poll interval of
1 ms. Each has relayed 20,000 rows before, and works at the same rate for 2 s before it is measured. Times are from when
an insert or a post was due until a consumer, the same for all, has the record; each event must come once, and in
order by key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from tables.database import Connection
from tables.intake.outbox import wake_relay

from benchmarks.arrivals import arrivals
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.debezium import INTO_DEBEZIUM, debezium
from benchmarks.logical_postgres import LogicalPostgres, logical_postgres
from benchmarks.open_loop import Posting, at_rate, percentile_ms
from benchmarks.place import CONNECT_SECONDS, Place, connect
from benchmarks.rows import ACCEPT_AS_THE_DOOR, DEVICES, INTO_OUTBOX, fill, number_of
from benchmarks.topic_records import Topic, check_records, open_topic

SECONDS = 8.0
WARM_UP_SECONDS = 2.0
WARM_UP_ROWS = 20_000
PER_SECOND = 500
CONNECTIONS = 8
TUNED = {"debezium.source.poll.interval.ms": "1"}
POSTED = "run"

Act = Callable[[int, float], Awaitable[None]]


async def measure(place: Place, options: Options) -> Round:
    """Debezium twice, ours twice, each in a database of its own of one server with wal_level=logical."""
    events = int((options.seconds or SECONDS) * PER_SECOND)
    async with logical_postgres(place) as postgres:
        seconds = {
            "debezium": await _debezium(place, postgres, events, {}),
            "tuned": await _debezium(place, postgres, events, TUNED),
            "insert": await _our_inserts(place, postgres, events),
            "post": await _our_posts(place, postgres, events),
        }
    figures = {f"{name}_p{n}_ms": percentile_ms(values, n) for name, values in seconds.items() for n in (50, 99)}
    shares = {f"{name}_share": figures[f"{name}_p50_ms"] / figures["debezium_p50_ms"] for name in ("insert", "post")}
    return Round({**shares, **figures}, {})


async def _debezium(place: Place, postgres: LogicalPostgres, events: int, settings: Mapping[str, str]) -> list[float]:
    async with debezium(place, postgres, settings) as peer, open_topic(place.bootstrap_servers, peer.name) as topic:
        await fill(peer.connection, INTO_DEBEZIUM, first=0, events=WARM_UP_ROWS)
        await topic.until(WARM_UP_ROWS, peer.process.check_alive)
        async with _inserting(peer.dsn, INTO_DEBEZIUM) as insert:
            return await _insert_at_rate(place, topic, events, insert)


async def _our_inserts(place: Place, postgres: LogicalPostgres, events: int) -> list[float]:
    async with place.system(postgres=postgres.server) as system:
        await system.start("ingestion worker", "ingestion")
        await fill(system.connection, INTO_OUTBOX, first=0, events=WARM_UP_ROWS)
        await system.until_published(WARM_UP_ROWS)
        async with (
            open_topic(place.bootstrap_servers, system.topic) as topic,
            _inserting(system.dsn, ACCEPT_AS_THE_DOOR) as accept,
            _waking(system.connection) as inserted,
        ):

            async def insert(number: int, due: float) -> None:
                await accept(number, due)
                inserted.set()

            return await _insert_at_rate(place, topic, events, insert)


@asynccontextmanager
async def _inserting(dsn: str, statement: str) -> AsyncIterator[Act]:
    """Inserts the event of a number, on whichever of some connections is free."""
    async with AsyncExitStack() as stack:
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            connection = await connect(dsn)
            stack.push_async_callback(connection.close, timeout=CONNECT_SECONDS)
            free.put_nowait(connection)

        async def insert(number: int, _due: float) -> None:
            connection = await free.get()
            await connection.execute(statement, number, number, DEVICES)
            free.put_nowait(connection)

        yield insert


@asynccontextmanager
async def _waking(connection: Connection) -> AsyncIterator[asyncio.Event]:
    """Wakes the relay after the event is set: one NOTIFY at a time, as a door does it."""
    inserted = asyncio.Event()

    async def wake() -> None:
        while True:
            await inserted.wait()
            inserted.clear()
            await wake_relay(connection)

    waking = asyncio.create_task(wake())
    try:
        yield inserted
    finally:
        waking.cancel()


async def _insert_at_rate(place: Place, topic: Topic, events: int, insert: Act) -> list[float]:
    """Seconds from when each event was due to its arrival, but for the first ones."""
    warm_up = int(WARM_UP_SECONDS * PER_SECOND)
    numbers = range(WARM_UP_ROWS, WARM_UP_ROWS + warm_up + events)
    due: dict[int, float] = {}

    async def act(index: int, moment: float) -> None:
        due[numbers[index]] = moment
        await insert(numbers[index], moment)

    async with arrivals(topic, place.bootstrap_servers, number_of) as found, asyncio.TaskGroup() as tasks:
        tasks.create_task(found.collect(numbers))
        tasks.create_task(at_rate(PER_SECOND, len(numbers), act))
    check_records(await topic.records(), number_of=number_of, numbers=range(numbers.stop))
    return found.seconds({number: due[number] for number in numbers[warm_up:]})


async def _our_posts(place: Place, postgres: LogicalPostgres, events: int) -> list[float]:
    warm_up = int(WARM_UP_SECONDS * PER_SECOND)
    numbers = range(warm_up + events)
    due: dict[int, float] = {}
    async with place.system(postgres=postgres.server) as system:
        worker = await system.start("ingestion worker", "ingestion")
        posting = Posting(POSTED, lambda number: f"device-{number % DEVICES}", due.__setitem__)
        async with open_topic(place.bootstrap_servers, system.topic) as topic:
            async with (
                arrivals(topic, place.bootstrap_servers, _posted_number) as found,
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(found.collect(numbers))
                tasks.create_task(posting.run(worker.ingestion_port, len(numbers), per_second=PER_SECOND))
            check_records(await topic.records(), number_of=_posted_number, numbers=numbers)
    return found.seconds({number: due[number] for number in numbers[warm_up:]})


def _posted_number(event_id: str) -> int:
    return int(event_id.rpartition("-")[2])


RELAY_LATENCY = Comparison(
    "relay_latency",
    "500 events a second, insert to consumer",
    [
        Shown("insert_share", at_most=0.25),
        Shown("post_share", at_most=0.25),
        *(Shown(f"{name}_p{n}_ms") for name in ("insert", "post", "debezium", "tuned") for n in (50, 99)),
    ],
    measure,
)
