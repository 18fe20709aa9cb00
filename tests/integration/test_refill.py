"""A topic that was lost, or its end, is filled again from the event store, in order and before anything new."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.kafka import topic_end
from agents.kafka.access import KafkaAccess
from agents.kafka.fetch_batches import Headers
from agents.relay.publisher import Publisher
from agents.relay.relay import Relay
from headrace.events.origin import ORIGIN, sign
from headrace.events.topic_record import encode, followed
from headrace.process.waiting import WakeUp
from tables.database import Connection, Database, Pool
from tables.history import epochs, event_store
from tables.intake import outbox

from tests.support.data.events import event
from tests.support.waiting import until

SECONDS = 40.0
PARTITIONS = 4


@pytest.fixture
async def make_relay(database: Database, kafka: str, topic: str) -> AsyncIterator[Callable[[], Relay]]:
    relays = []

    def make() -> Relay:
        publisher = Publisher(KafkaAccess(kafka.removeprefix("kafka://")), topic, partitions_if_new=PARTITIONS)
        relays.append(Relay(database, publisher, WakeUp(), batch_events=100, watchdog_seconds=0.1))
        return relays[-1]

    yield make
    for relay in relays:
        await relay.stop()


class Broker:
    """What an operator, or a lost disk, does to the topic."""

    def __init__(self, url: str, topic: str) -> None:
        self._servers = url.removeprefix("kafka://")
        self._topic = topic

    async def delete(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        await admin.delete_topics([self._topic])
        await admin.close()

    async def make(self, *, partitions: int = PARTITIONS) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()

        async def made() -> bool:
            response = await admin.create_topics([NewTopic(self._topic, partitions, 1)])
            return not any(code for _, code, *_ in response.topic_errors)

        await until(made, SECONDS)
        await admin.close()

    async def write(self, records: list[tuple[int, bytes, Headers]]) -> None:
        """As (partition, value, headers)."""
        producer = AIOKafkaProducer(bootstrap_servers=self._servers)
        await producer.start()
        for partition, value, headers in records:
            await producer.send_and_wait(self._topic, value, partition=partition, headers=headers)
        await producer.stop()

    async def positions(self) -> dict[int, list[int]]:
        """By partition, in the order of the topic; records that are not ours are left out."""
        consumer = AIOKafkaConsumer(self._topic, bootstrap_servers=self._servers, auto_offset_reset="earliest")
        await consumer.start()
        found: dict[int, list[int]] = {}
        try:
            for tp, end in (await consumer.end_offsets(consumer.assignment())).items():
                while await consumer.position(tp) < end:
                    for record in (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, []):
                        if record.value.startswith(b"{"):
                            found.setdefault(tp.partition, []).append(int(json.loads(record.value)["sequence"]))
        finally:
            await consumer.stop()
        return found


@pytest.fixture
def broker(kafka: str, topic: str) -> Broker:
    return Broker(kafka, topic)


async def accept(pool: Pool, first: int, last: int) -> None:
    async with pool.acquire() as connection:
        await outbox.accept(connection, [event(number, subject=f"s{number % 10}") for number in range(first, last)])


async def topic_has(broker: Broker, pool: Pool, count: int) -> dict[int, list[int]]:
    """Wait until the topic has that many events; first appearances are in order, and nothing else is there."""
    by_partition: dict[int, list[int]] = {}

    async def all_there() -> bool:
        by_partition.clear()
        by_partition.update(await broker.positions())
        return len({one for positions in by_partition.values() for one in positions}) >= count

    await until(all_there, SECONDS)
    stored = {
        row["position"]: row["partition"] for row in await pool.fetch("SELECT position, partition FROM event_store")
    }
    assert len(stored) == count
    for partition, positions in by_partition.items():
        first = list(dict.fromkeys(positions))
        assert first == sorted(first)
        assert first == sorted(position for position, place in stored.items() if place == partition)
    return by_partition


async def outbox_is_empty(pool: Pool) -> None:
    async def empty() -> bool:
        return not await pool.fetchval("SELECT count(*) FROM outbox")

    await until(empty, SECONDS)


async def test_a_topic_that_was_deleted_is_filled_again_though_nothing_new_comes(
    make_relay: Callable[[], Relay], broker: Broker, pool: Pool
) -> None:
    await accept(pool, 0, 1_000)
    await make_relay().start()
    await outbox_is_empty(pool)
    await broker.delete()
    await topic_has(broker, pool, 1_000)


async def test_what_comes_after_the_loss_comes_after_what_was_lost(
    make_relay: Callable[[], Relay], broker: Broker, pool: Pool
) -> None:
    await accept(pool, 0, 500)
    await make_relay().start()
    await outbox_is_empty(pool)
    await broker.delete()
    await accept(pool, 500, 700)
    await topic_has(broker, pool, 700)


async def test_only_the_end_is_published_again_where_the_beginning_is_there(
    make_relay: Callable[[], Relay], broker: Broker, pool: Pool, connection: Connection
) -> None:
    await accept(pool, 0, 400)
    relay = make_relay()
    await relay.start()
    await outbox_is_empty(pool)
    await relay.stop()
    await broker.delete()
    await broker.make()
    past = await event_store.read(connection, after=0, before=201, at_most=200)
    timeline = await epochs.read(connection)
    kept: list[tuple[int, bytes, Headers]] = []
    for one in past:
        value = encode(one.text, one.position)
        origin = sign(timeline.installation, timeline.epoch, one.partition, None, value)
        kept.append((one.partition, value, [(ORIGIN, origin)]))
    strange: list[tuple[int, bytes, Headers]] = [
        (partition, b"no event of ours", []) for partition in range(PARTITIONS) for _ in range(30)
    ]
    await broker.write([*kept, *strange])
    await make_relay().start()
    by_partition = await topic_has(broker, pool, 400)
    assert sum(len(positions) for positions in by_partition.values()) == 400


async def test_a_topic_that_somebody_made_anew_is_filled_though_the_producer_lives_on(
    make_relay: Callable[[], Relay], broker: Broker, pool: Pool
) -> None:
    """The broker takes what such a producer sends as if nothing had happened: only the offsets tell."""
    await accept(pool, 0, 300)
    relay = make_relay()
    relay._watchdog_seconds = 3_600  # it does not look by itself
    await relay.start()
    await outbox_is_empty(pool)
    await broker.delete()
    await broker.make()
    await accept(pool, 300, 310)
    relay.wake()
    positions: dict[int, list[int]] = {}

    async def all_there() -> bool:
        positions.update(await broker.positions())
        return {one for some in positions.values() for one in some} == set(range(1, 311))

    await until(all_there, SECONDS)


async def test_a_topic_with_fewer_partitions_than_before_is_told_and_waited_for(
    make_relay: Callable[[], Relay], broker: Broker, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await accept(pool, 0, 100)
    relay = make_relay()
    await relay.start()
    await outbox_is_empty(pool)
    await relay.stop()
    await broker.delete()
    await broker.make(partitions=1)
    await make_relay().start()

    async def told() -> bool:
        return "The topic has 1 partitions, but events are stored for 4" in caplog.text

    await until(told, SECONDS)
    await broker.delete()
    await topic_has(broker, pool, 100)


async def test_each_batch_names_the_event_before_it(
    make_relay: Callable[[], Relay], broker: Broker, pool: Pool, kafka: str, topic: str
) -> None:
    relay = make_relay()
    await relay.start()
    for first in range(0, 300, 50):
        await accept(pool, first, first + 50)
        await outbox_is_empty(pool)
    await relay.stop()
    await accept(pool, 300, 350)
    await make_relay().start()
    await outbox_is_empty(pool)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.removeprefix("kafka://"), auto_offset_reset="earliest")
    await consumer.start()
    named = 0
    last = dict.fromkeys(range(PARTITIONS), 0)
    try:
        while sum(1 for one in last.values() if one) < PARTITIONS or max(last.values()) < 350:
            for tp, records in (await consumer.getmany(timeout_ms=1_000)).items():
                for record in records:
                    follows = followed(record.headers)
                    assert follows in {None, last[tp.partition]}
                    named += follows is not None
                    last[tp.partition] = int(json.loads(record.value)["sequence"])
    finally:
        await consumer.stop()
    assert named >= 7


async def test_nothing_is_published_again_where_nothing_is_lacking(
    make_relay: Callable[[], Relay], broker: Broker, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await accept(pool, 0, 100)
    for _ in range(3):
        relay = make_relay()
        await relay.start()
        await outbox_is_empty(pool)
        await relay.stop()
    by_partition: dict[int, list[Any]] = dict(await broker.positions())
    assert sum(len(positions) for positions in by_partition.values()) == 100
    assert "lacked" not in caplog.text


async def test_a_topic_full_of_records_of_others_gets_the_last_round_again(
    make_relay: Callable[[], Relay], broker: Broker, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay does not read a busy topic to its beginning at each connect."""
    monkeypatch.setattr(topic_end, "MAX_READ_RECORDS", 10)
    await accept(pool, 0, 50)
    relay = make_relay()
    await relay.start()
    await outbox_is_empty(pool)
    await relay.stop()
    await broker.write([(partition, b"of others", []) for partition in range(PARTITIONS) for _ in range(30)])
    await accept(pool, 50, 60)
    await make_relay().start()
    await outbox_is_empty(pool)
    by_partition = await broker.positions()
    assert {one for positions in by_partition.values() for one in positions} == set(range(1, 61))
