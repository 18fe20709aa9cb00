"""Records that the broker refuses: set aside alone, while everything else is published in order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.kafka.access import KafkaAccess
from agents.relay.publisher import Publisher
from agents.relay.relay import Relay
from headrace.events.envelope import Limits, ParsedEvent, parse_event
from headrace.process.waiting import WakeUp
from tables.database import Connection, Database, Pool
from tables.intake import outbox

from tests.integration.test_relay import outbox_is_empty, positions, published
from tests.support.data.events import event
from tests.support.servers.system import envelope

PARTITIONS = 2

MakeRelay = Callable[..., Relay]


@pytest.fixture
async def make_relay(database: Database, kafka: str, topic: str) -> AsyncIterator[MakeRelay]:
    relays = []

    def make(**options: Any) -> Relay:
        publisher = Publisher(
            KafkaAccess(kafka.removeprefix("kafka://")), topic, partitions_if_new=PARTITIONS, **options
        )
        relays.append(Relay(database, publisher, WakeUp(), batch_events=1_000, watchdog_seconds=0.1))
        return relays[-1]

    yield make
    for relay in relays:
        await relay.stop()


class Operator:
    """What an operator does to the topic, and what is on it."""

    def __init__(self, kafka: str, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic

    async def create(self, **settings: str) -> None:
        """Create the topic; `_` in the name of a setting stands for a dot."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka.removeprefix("kafka://"))
        await admin.start()
        named = {name.replace("_", "."): value for name, value in settings.items()}
        await admin.create_topics([NewTopic(self._topic, PARTITIONS, 1, topic_configs=named)])
        await admin.close()

    async def positions(self) -> list[list[int]]:
        """The positions in each partition that has any, in the order of the topic."""
        return [positions(events) for events in (await published(self._kafka, self._topic)).values()]


@pytest.fixture
def operator(kafka: str, topic: str) -> Operator:
    return Operator(kafka, topic)


def large_event(number: int, size: int) -> ParsedEvent:
    text = json.dumps(envelope("/tests", id=str(number), subject="k", data="x" * size))
    return parse_event(text.encode(), Limits(event_bytes=3_000_000), "2026-11-22T12:00:00.000001Z")


async def unpublished(pool: Pool) -> dict[int, str]:
    rows = await pool.fetch("SELECT position, error FROM unpublished WHERE published_at IS NULL")
    return {row["position"]: row["error"] for row in rows}


async def test_only_the_record_that_is_too_large_is_set_aside(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator
) -> None:
    await operator.create(max_message_bytes="20000")
    sizes = {30: 50_000, 31: 19_000, 90: 30_000}
    events = [event(n, subject=f"s{n % 7}", data="x" * sizes.get(n, 10)) for n in range(100)]
    await outbox.accept(connection, events)
    await make_relay().start()
    await outbox_is_empty(pool)
    assert set(await unpublished(pool)) == {31, 91}
    by_partition = await operator.positions()
    assert sorted(p for some in by_partition for p in some) == sorted(set(range(1, 101)) - {31, 91})
    assert all(some == sorted(some) for some in by_partition)
    await outbox.accept(connection, [event(n, subject=f"s{n % 7}") for n in range(100, 120)])
    await outbox_is_empty(pool)
    assert sum(len(some) for some in await operator.positions()) == 118


async def test_a_round_that_is_larger_than_what_the_topic_allows_is_split(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator
) -> None:
    await operator.create(max_message_bytes="100000")
    await outbox.accept(connection, [event(n, subject="k", data="x" * 500) for n in range(800)])
    await make_relay().start()
    await outbox_is_empty(pool)
    assert await unpublished(pool) == {}
    assert await operator.positions() == [list(range(1, 801))]


async def test_a_limit_that_the_broker_does_not_say_is_found_by_halving(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object) -> dict[str, str]:
        return {}

    monkeypatch.setattr("agents.kafka.topic._settings", unknown)
    await operator.create(max_message_bytes="20000")
    events = [event(n, subject="k", data="x" * (30_000 if n in {70, 71, 199} else 500)) for n in range(200)]
    await outbox.accept(connection, events)
    await make_relay().start()
    await outbox_is_empty(pool)
    assert set(await unpublished(pool)) == {71, 72, 200}
    assert await operator.positions() == [[p for p in range(1, 201) if p not in {71, 72, 200}]]


async def test_a_new_topic_has_room_for_the_largest_event(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator
) -> None:
    await outbox.accept(connection, [event(1, subject="k"), large_event(2, 2_990_000)])
    await outbox.accept(connection, [event(3, subject="k")])
    await make_relay(max_event_bytes=3_000_000).start()
    await outbox_is_empty(pool)
    assert await unpublished(pool) == {}
    assert await operator.positions() == [[1, 2, 3]]


async def test_a_topic_with_a_limit_below_the_largest_event_is_reported_at_connect(
    make_relay: MakeRelay, connection: Connection, pool: Pool, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    await operator.create(max_message_bytes="20000")
    await outbox.accept(connection, [event(1)])
    await make_relay().start()
    await outbox_is_empty(pool)
    assert "max.message.bytes of the topic is 20000" in caplog.text
