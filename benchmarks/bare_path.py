"""What a pipeline of this kind cannot do without, done barely: no check, no order, no fold, no failure is looked after.

An insert with a unique key, the move into a log, records on a topic that are acknowledged and read, an upsert into
three projections. The same libraries, servers, sizes and number of statements as Headrace.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.kafka.access import KafkaAccess
from agents.kafka.topic import ensure_topic
from tables.database import Connection

from benchmarks.place import Place, connect
from benchmarks.system import PROJECTIONS
from benchmarks.topic_records import PARTITIONS

STUCK_SECONDS = 30.0
FETCH_MS = 1_000
MAX_BATCH_BYTES = 900_000

TABLES = """
CREATE TABLE taken (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE, event text NOT NULL);
CREATE TABLE log (position bigint PRIMARY KEY, id text NOT NULL UNIQUE, event text NOT NULL);
CREATE TABLE rows (projection text, key text, state jsonb, PRIMARY KEY (projection, key)) WITH (fillfactor = 70);
"""
TAKE = "INSERT INTO taken (id, event) SELECT * FROM unnest($1::text[], $2::text[])"
MOVE = """
WITH moved AS (DELETE FROM taken RETURNING seq, id, event)
INSERT INTO log (position, id, event) SELECT seq, id, event FROM moved RETURNING event
"""
APPLY = """
INSERT INTO rows (projection, key, state) SELECT $1, * FROM unnest($2::text[], $3::jsonb[])
ON CONFLICT (projection, key) DO UPDATE SET state = excluded.state
"""

LOOK_UP = "SELECT key, state::text AS state FROM rows WHERE projection = 'devices' AND key = ANY ($1::text[])"


class BareEvent(msgspec.Struct):
    """As much of an event as the path needs."""

    id: str
    subject: str
    time: str
    data: msgspec.Raw


decode = msgspec.json.Decoder(BareEvent).decode


class BareWay(msgspec.Struct, frozen=True):
    """Where the path is: a database with its tables, and a topic."""

    dsn: str
    bootstrap_servers: str
    topic: str


class BareIntake:
    """The first half: each step returns when it is committed, or acknowledged."""

    def __init__(self, taking: Connection, moving: Connection, producer: AIOKafkaProducer, topic: str) -> None:
        self._taking = taking
        self._moving = moving
        self._producer = producer
        self._topic = topic

    async def take(self, events: Sequence[tuple[str, str]]) -> None:
        """Insert events (id, text)."""
        await self._taking.execute(TAKE, *zip(*events, strict=True))

    async def move(self) -> list[str]:
        """Move what was taken into the log: the texts."""
        return [row["event"] for row in await self._moving.fetch(MOVE)]

    async def publish(self, texts: Sequence[str]) -> None:
        """Publish, one batch for each partition."""
        by_partition: dict[int, list[bytes]] = defaultdict(list)
        for text in texts:
            by_partition[hash(text) % PARTITIONS].append(text.encode())
        sent = []
        for partition, values in by_partition.items():
            batch = self._producer.create_batch()
            for value in values:
                batch.append(timestamp=None, key=None, value=value)
            sent.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        await asyncio.gather(*sent)


class BareHandler:
    """The second half."""

    def __init__(self, connections: Sequence[Connection], looking: Connection, consumer: AIOKafkaConsumer) -> None:
        self._connections = connections
        self._looking = looking
        self._consumer = consumer

    async def read(self) -> list[Any]:
        """The next records, or none for a while."""
        fetched = await self._consumer.getmany(timeout_ms=FETCH_MS)
        return [record for records in fetched.values() for record in records]

    async def apply(self, records: Sequence[Any]) -> None:
        """Write what the three projections have for these records."""
        decoded = [decode(record.value) for record in records]
        keys = (lambda event: event.subject, lambda event: event.subject + event.time[:13], lambda _event: "one")
        rows = [{key(event): bytes(event.data).decode() for event in decoded} for key in keys]
        async with asyncio.TaskGroup() as applying:
            for connection, name, states in zip(self._connections, PROJECTIONS, rows, strict=True):
                applying.create_task(connection.execute(APPLY, name, list(states), list(states.values())))

    async def look_up(self, keys: Sequence[str]) -> dict[str, str]:
        """The states of these rows of `devices`, as text."""
        return {row["key"]: row["state"] for row in await self._looking.fetch(LOOK_UP, keys)}


async def carry(intake: BareIntake, handler: BareHandler, events: Sequence[tuple[str, str]]) -> None:
    """Take events (id, text) all the way, together."""
    await intake.take(events)
    texts = await intake.move()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(intake.publish(texts))
        reading = tasks.create_task(_read_all(handler, len(texts)))
    await handler.apply(reading.result())


async def _read_all(handler: BareHandler, count: int) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(STUCK_SECONDS):
        while len(found) < count:
            found += await handler.read()
    return found


@asynccontextmanager
async def make_way(place: Place) -> AsyncIterator[tuple[BareWay, Connection]]:
    """A database and a topic of its own; both are gone, or used by nobody, on leaving."""
    name = place.new_name()
    async with place.database(name) as (dsn, owner):
        await owner.execute(TABLES)
        await ensure_topic(KafkaAccess(place.bootstrap_servers), name, partitions=PARTITIONS)
        yield BareWay(dsn, place.bootstrap_servers, name), owner


@asynccontextmanager
async def open_intake(way: BareWay) -> AsyncIterator[BareIntake]:
    """The first half, ready."""
    async with AsyncExitStack() as stack:
        taking, moving = [await _connection(stack, way) for _ in range(2)]
        producer = AIOKafkaProducer(
            bootstrap_servers=way.bootstrap_servers, enable_idempotence=True, acks="all", max_batch_size=MAX_BATCH_BYTES
        )
        await producer.start()
        stack.push_async_callback(producer.stop)
        yield BareIntake(taking, moving, producer, way.topic)


@asynccontextmanager
async def open_handler(way: BareWay) -> AsyncIterator[BareHandler]:
    """The second half, ready."""
    async with AsyncExitStack() as stack:
        looking, *connections = [await _connection(stack, way) for _ in range(1 + len(PROJECTIONS))]
        consumer = AIOKafkaConsumer(bootstrap_servers=way.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        consumer.assign([TopicPartition(way.topic, number) for number in range(PARTITIONS)])
        yield BareHandler(connections, looking, consumer)


async def _connection(stack: AsyncExitStack, way: BareWay) -> Connection:
    connection = await connect(way.dsn)
    stack.push_async_callback(connection.close, timeout=STUCK_SECONDS)
    return connection
