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

from agents.topic import ensure_topic
from benchmarks.place import Place, connect
from benchmarks.system import PROJECTIONS
from benchmarks.topic_records import PARTITIONS
from tables.database import Connection

STUCK_SECONDS = 30.0
FETCH_MS = 1_000

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


class _Event(msgspec.Struct):
    id: str
    subject: str
    time: str
    data: msgspec.Raw


_decoder = msgspec.json.Decoder(_Event)


class BarePath:
    """The path, ready: each step returns when it is committed, or read."""

    def __init__(
        self,
        connections: Sequence[Connection],
        producer: AIOKafkaProducer,
        consumer: AIOKafkaConsumer,
        topic: str,
    ) -> None:
        self._connections = connections
        self._producer = producer
        self._consumer = consumer
        self._topic = topic

    async def carry(self, events: Sequence[tuple[str, str]]) -> None:
        """Take events (id, text) all the way, together."""
        await self._connections[0].execute(TAKE, *zip(*events, strict=True))
        texts = [row["event"] for row in await self._connections[0].fetch(MOVE)]
        _, records = await asyncio.gather(self._publish(texts), self._read(len(texts)))
        decoded = [_decoder.decode(record.value) for record in records]
        keys = (lambda event: event.subject, lambda event: event.subject + event.time[:13], lambda _event: "one")
        rows = [{key(event): bytes(event.data).decode() for event in decoded} for key in keys]
        async with asyncio.TaskGroup() as applying:
            for connection, name, states in zip(self._connections, PROJECTIONS, rows, strict=True):
                applying.create_task(connection.execute(APPLY, name, list(states), list(states.values())))

    async def _publish(self, texts: Sequence[str]) -> None:
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

    async def _read(self, count: int) -> list[Any]:
        found: list[Any] = []
        async with asyncio.timeout(STUCK_SECONDS):
            while len(found) < count:
                for records in (await self._consumer.getmany(timeout_ms=FETCH_MS)).values():
                    found += records
        return found


@asynccontextmanager
async def open_bare_path(place: Place) -> AsyncIterator[BarePath]:
    """A database and a topic of its own; both are gone, or used by nobody, on leaving."""
    name = place.new_name()
    async with AsyncExitStack() as stack:
        dsn, owner = await stack.enter_async_context(place.database(name))
        await owner.execute(TABLES)
        connections = []
        for _ in PROJECTIONS:
            connections.append(await connect(dsn))
            stack.push_async_callback(connections[-1].close, timeout=STUCK_SECONDS)
        await ensure_topic(place.bootstrap_servers, name, partitions=PARTITIONS)
        producer = AIOKafkaProducer(bootstrap_servers=place.bootstrap_servers, enable_idempotence=True, acks="all")
        consumer = AIOKafkaConsumer(bootstrap_servers=place.bootstrap_servers, auto_offset_reset="earliest")
        for client in (producer, consumer):
            await client.start()
            stack.push_async_callback(client.stop)
        consumer.assign([TopicPartition(name, number) for number in range(PARTITIONS)])
        yield BarePath(connections, producer, consumer, name)
