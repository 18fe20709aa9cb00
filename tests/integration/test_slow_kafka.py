"""Rounds that Kafka needs long for: the relay stays active, and publishes them in smaller pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agents.kafka.access import KafkaAccess
from agents.relay import paced_publishing, publisher, relay
from agents.relay.publisher import Publisher
from agents.relay.relay import Relay
from headrace.process.fault_points import arm, read_faults
from headrace.process.waiting import WakeUp
from tables.database import Connection, Database, Pool
from tables.intake import outbox
from tables.intake.outbox import MAX_ROUND_BYTES

from tests.integration.test_relay import outbox_is_empty, positions, published
from tests.support.data.events import event

OnTopic = Callable[[], Awaitable[list[int]]]


@pytest.fixture
async def slow_relay(database: Database, kafka: str, topic: str) -> AsyncIterator[Relay]:
    """A relay that is not started."""
    made = Relay(
        database,
        Publisher(KafkaAccess(kafka.removeprefix("kafka://")), topic, partitions_if_new=1),
        WakeUp(),
        batch_events=1_000,
        watchdog_seconds=0.1,
    )
    yield made
    arm([])
    await made.stop()


@pytest.fixture
def on_topic(kafka: str, topic: str) -> OnTopic:
    """Returns the positions on the topic, in order."""

    async def read() -> list[int]:
        return [position for events in (await published(kafka, topic)).values() for position in positions(events)]

    return read


async def test_a_relay_stays_active_while_kafka_needs_longer_than_its_session_may_be_idle(
    slow_relay: Relay, connection: Connection, pool: Pool, on_topic: OnTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "IDLE_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(paced_publishing, "HEARTBEAT_SECONDS", 0.2)
    arm(read_faults("publisher.publishing=sleep:3"))
    await outbox.accept(connection, [event(1)])
    await slow_relay.start()
    await outbox_is_empty(pool)
    assert slow_relay.is_active
    assert await on_topic() == [1]


async def test_a_round_that_exceeds_its_time_is_published_in_pieces(
    slow_relay: Relay, connection: Connection, pool: Pool, on_topic: OnTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Six batches of 0.4 s in a second: only smaller pieces can be in time.
    monkeypatch.setattr(publisher, "TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(publisher, "MIN_BYTES_PER_SECOND", 10**9)
    await outbox.accept(connection, [event(n, subject="k", data="x" * 800_000) for n in range(6)])
    arm(read_faults("publisher.publishing=sleep:0.4"))
    await slow_relay.start()
    await outbox_is_empty(pool)
    assert list(dict.fromkeys(await on_topic())) == [1, 2, 3, 4, 5, 6]


async def test_pieces_shrink_while_kafka_is_slow_and_grow_again(
    slow_relay: Relay, connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced_publishing, "SLOW_SECONDS", 0.2)
    arm(read_faults("publisher.publishing=sleep:0.3"))
    await slow_relay.start()
    for number in range(2):
        await outbox.accept(connection, [event(number)])
        await outbox_is_empty(pool)
    assert slow_relay._paced.piece_bytes == MAX_ROUND_BYTES // 4
    arm([])
    for number in range(2, 4):
        await outbox.accept(connection, [event(number)])
        await outbox_is_empty(pool)
    assert slow_relay._paced.piece_bytes == MAX_ROUND_BYTES
