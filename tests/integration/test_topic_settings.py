"""Topics as operators have them: compressed, compacted, emptied by retention, grown, with a thousand partitions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from agents.kafka import topic_end
from agents.kafka.access import KafkaAccess
from agents.kafka.topic_end import FORGOTTEN, TopicEnd
from agents.relay.publisher import Publisher
from agents.relay.relay import Relay
from headrace.events.topic_record import encode
from headrace.process.waiting import WakeUp
from tables.database import Connection, Database, Pool
from tables.intake import outbox

from tests.integration.test_relay import outbox_is_empty, positions, published
from tests.support.data.events import event
from tests.support.waiting import until

SECONDS = 60.0

MakeRelay = Callable[[], Relay]
Missing = Callable[[str], pytest.LogCaptureFixture]


@pytest.fixture
async def make_relay(database: Database, kafka: str, topic: str) -> AsyncIterator[MakeRelay]:
    relays = []

    def make() -> Relay:
        publisher = Publisher(KafkaAccess(kafka.removeprefix("kafka://")), topic, partitions_if_new=2)
        relays.append(Relay(database, publisher, WakeUp(), batch_events=1_000, watchdog_seconds=0.1))
        return relays[-1]

    yield make
    for relay in relays:
        await relay.stop()


class Operator:
    """What an operator does to the topic, and what is on it."""

    def __init__(self, admin: AIOKafkaAdminClient, servers: str, topic: str) -> None:
        self.admin = admin
        self.servers = servers
        self.topic = topic

    async def create(self, partitions: int, **settings: str) -> None:
        """Create the topic; `_` in the name of a setting stands for a dot."""
        named = {name.replace("_", "."): value for name, value in settings.items()}
        await self.admin.create_topics([NewTopic(self.topic, partitions, 1, topic_configs=named)])

    async def remove_all(self, partition: int, end: int) -> None:
        """What retention does to a partition, up to an offset."""
        await self.admin.delete_records({TopicPartition(self.topic, partition): RecordsToDelete(end)})

    async def positions(self) -> dict[int, list[int]]:
        """By partition, in the order of the topic."""
        found = await published(f"kafka://{self.servers}", self.topic)
        return {partition: positions(events) for partition, events in found.items()}

    async def last_positions(self, partitions: int) -> dict[int, int]:
        """What a relay reads when it connects."""
        end = TopicEnd(KafkaAccess(self.servers), self.topic, timeout_seconds=10)
        await end.start()
        try:
            return await end.last_positions(range(partitions))
        finally:
            await end.stop()


@pytest.fixture
async def operator(kafka: str, topic: str) -> AsyncIterator[Operator]:
    servers = kafka.removeprefix("kafka://")
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    yield Operator(admin, servers, topic)
    await admin.close()


@pytest.fixture
def missing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Missing:
    """Makes aiokafka lack a codec from now on; returns the log."""

    def lacks(codec: str) -> pytest.LogCaptureFixture:
        monkeypatch.setattr(f"aiokafka.codec.has_{codec}", lambda: False)
        return caplog

    return lacks


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
async def test_a_compressed_topic_is_written_and_read(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator, codec: str
) -> None:
    await operator.create(2, compression_type=codec, message_timestamp_type="LogAppendTime")
    await outbox.accept(connection, [event(n, subject=f"s{n % 7}", data="x" * 1_000) for n in range(200)])
    relay = make_relay()
    await relay.start()
    await outbox_is_empty(pool)
    found = await operator.positions()
    assert sorted(p for some in found.values() for p in some) == list(range(1, 201))
    assert await operator.last_positions(2) == {partition: max(some) for partition, some in found.items()}


async def test_a_codec_that_is_missing_is_named(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator, missing: Missing
) -> None:
    await operator.create(1, compression_type="lz4")
    await outbox.accept(connection, [event(n, data="x" * 1_000) for n in range(20)])
    relay = make_relay()
    await relay.start()
    await outbox_is_empty(pool)
    await relay.stop()
    log = missing("lz4")
    await make_relay().start()

    async def is_named() -> bool:
        return "Libraries for lz4 compression codec not found" in log.text

    await until(is_named, SECONDS)


async def test_what_retention_has_removed_is_not_published_again(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    await operator.create(2)
    await outbox.accept(connection, [event(n, subject=f"s{n % 7}") for n in range(100)])
    relay = make_relay()
    await relay.start()
    await outbox_is_empty(pool)
    await relay.stop()
    before = await operator.positions()
    await operator.remove_all(0, len(before[0]))
    assert await operator.last_positions(2) == {0: FORGOTTEN, 1: max(before[1])}
    await make_relay().start()
    await outbox.accept(connection, [event(n, subject=f"s{n % 7}") for n in range(100, 120)])
    await outbox_is_empty(pool)
    after = await operator.positions()
    assert after[1][: len(before[1])] == before[1]
    assert min(after[0]) > 100
    assert "lacked" not in caplog.text


async def test_a_thousand_partitions_are_read_within_seconds(operator: Operator) -> None:
    await operator.create(1_000)
    producer = AIOKafkaProducer(bootstrap_servers=operator.servers)
    await producer.start()
    text = '{"id":"1","source":"/t","type":"t","time":"2026-11-22T08:00:00Z"}'
    for partition in range(0, 1_000, 2):
        await producer.send(operator.topic, encode(text, partition + 1), key=b"k", partition=partition)
    await producer.stop()
    found = await operator.last_positions(1_000)
    assert found == {partition: 0 if partition % 2 else partition + 1 for partition in range(1_000)}


async def test_partitions_that_are_added_are_used_without_a_restart(
    make_relay: MakeRelay, connection: Connection, operator: Operator, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_end, "METADATA_SECONDS", 1)
    await operator.create(1)
    relay = make_relay()
    await relay.start()
    await outbox.accept(connection, [event(n, subject=f"s{n}") for n in range(20)])
    await outbox_is_empty(pool)
    await operator.admin.create_partitions({operator.topic: NewPartitions(4)})

    async def all_are_used() -> bool:
        first = int(await pool.fetchval("SELECT last_position FROM relay_state"))
        await outbox.accept(connection, [event(n, subject=f"s{n}") for n in range(first, first + 20)])
        await outbox_is_empty(pool)
        return set(await operator.positions()) == {0, 1, 2, 3}

    await until(all_are_used, SECONDS)
    found = await operator.positions()
    assert all(some == sorted(some) for some in found.values())


async def test_the_end_is_found_before_markers_of_transactions(operator: Operator) -> None:
    await operator.create(2)
    text = '{"id":"1","source":"/t","type":"t","time":"2026-11-22T08:00:00Z"}'
    producer: Any = AIOKafkaProducer(bootstrap_servers=operator.servers, transactional_id=operator.topic)
    await producer.start()
    for number in range(1, 8):
        async with producer.transaction():
            await producer.send_and_wait(operator.topic, encode(text, number), key=b"k", partition=0)
    for _ in range(8):
        async with producer.transaction():
            await producer.send_and_wait(operator.topic, b"no event", key=b"k", partition=1)
    await producer.stop()
    assert await operator.last_positions(2) == {0: 7, 1: 0}
    await operator.remove_all(1, 15)  # the last marker is left
    assert await operator.last_positions(2) == {0: 7, 1: FORGOTTEN}


async def test_a_compacted_topic_is_reported(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    await operator.create(1, cleanup_policy="compact")
    await outbox.accept(connection, [event(1)])
    await make_relay().start()
    await outbox_is_empty(pool)
    assert "cleanup.policy of the topic is compact" in caplog.text
