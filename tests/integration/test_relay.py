"""The relay on real PostgreSQL and real Kafka: order, recovery, take-over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from agents.kafka.access import KafkaAccess
from agents.relay import relay as relay_module
from agents.relay.publisher import Publisher
from agents.relay.relay import Relay
from headrace.process.waiting import WakeUp
from tables.database import Connection, Database, Pool
from tables.intake import outbox

from tests.support.data.events import event
from tests.support.waiting import until

SECONDS = 20.0


@pytest.fixture
async def make_relay(database: Database, kafka: str, topic: str) -> AsyncIterator[Callable[..., Relay]]:
    relays = []

    def make(**options: Any) -> Relay:
        publisher = Publisher(KafkaAccess(kafka.removeprefix("kafka://")), topic, partitions_if_new=4)
        given = {"batch_events": 100, "watchdog_seconds": 0.1, **options}
        relay = Relay(database, publisher, WakeUp(), **given)
        relays.append(relay)
        return relay

    yield make
    for relay in relays:
        await relay.stop()


async def outbox_is_empty(pool: Pool) -> None:
    async def empty() -> bool:
        return not await pool.fetchval("SELECT count(*) FROM outbox")

    await until(empty, SECONDS)


async def published(kafka: str, topic: str) -> dict[int, list[dict[str, Any]]]:
    """The topic's events by partition, in order."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka.removeprefix("kafka://"),
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=10**7,
    )
    await consumer.start()
    found: dict[int, list[dict[str, Any]]] = {}
    try:
        for tp, end in (await consumer.end_offsets(consumer.assignment())).items():
            while await consumer.position(tp) < end:
                for record in (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, []):
                    found.setdefault(tp.partition, []).append(json.loads(record.value))
    finally:
        await consumer.stop()
    return found


def positions(events: list[dict[str, Any]]) -> list[int]:
    return [int(event["sequence"]) for event in events]


async def test_events_are_stored_published_in_order_and_deleted(
    make_relay: Callable[..., Relay], connection: Connection, pool: Pool, kafka: str, topic: str
) -> None:
    await outbox.accept(connection, [event(n, subject=f"s{n % 10}") for n in range(1_000)])
    await make_relay().start()
    await outbox_is_empty(pool)
    by_partition = await published(kafka, topic)
    assert len(by_partition) > 1
    assert sorted(p for events in by_partition.values() for p in positions(events)) == list(range(1, 1_001))
    for partition, events in by_partition.items():
        assert positions(events) == sorted(positions(events))
        stored = await pool.fetch("SELECT position FROM event_store WHERE partition = $1 ORDER BY 1", partition)
        assert [row["position"] for row in stored] == positions(events)


async def test_what_an_earlier_relay_stored_is_published_before_anything_new(
    make_relay: Callable[..., Relay], connection: Connection, pool: Pool, kafka: str, topic: str
) -> None:
    await outbox.accept(connection, [event(n, subject="one key") for n in range(50)])
    # An earlier relay died between its commit and its publishing; its rows are not the first of the outbox.
    await outbox.store_next(connection, [], at_most=50, partitions=4)
    await outbox.accept(connection, [event(n, subject="one key") for n in range(50, 80)])
    await pool.execute(
        "WITH late AS (DELETE FROM outbox WHERE seq > 50 RETURNING *)"
        " INSERT INTO outbox (seq, id, source, event_type, subject, event_time, partition_key, key_hash, event)"
        " OVERRIDING SYSTEM VALUE"
        " SELECT -seq, id, source, event_type, subject, event_time, partition_key, key_hash, event FROM late"
    )
    await make_relay(batch_events=20).start()
    await outbox_is_empty(pool)
    ((_, events),) = (await published(kafka, topic)).items()
    assert positions(events) == list(range(1, 81))
    assert {int(one["id"]) for one in events[:50]} == set(range(50))


async def test_a_round_larger_than_a_record_batch_keeps_its_order(
    make_relay: Callable[..., Relay], connection: Connection, pool: Pool, kafka: str, topic: str
) -> None:
    large = "x" * 400_000
    await outbox.accept(connection, [event(n, subject="k", data=large if n % 2 else n) for n in range(12)])
    await outbox.accept(connection, [event(12, subject="k", data="x" * 999_000)])
    await make_relay().start()
    await outbox_is_empty(pool)
    ((_, events),) = (await published(kafka, topic)).items()
    assert positions(events) == list(range(1, 14))


async def test_an_event_that_is_stored_already_does_not_stop_the_relay(
    make_relay: Callable[..., Relay], connection: Connection, pool: Pool, kafka: str, topic: str
) -> None:
    await outbox.accept(connection, [event(1, subject="k"), event(2, subject="k")])
    await make_relay().start()
    await outbox_is_empty(pool)
    # Where none should be: written by hand, past the door.
    await pool.execute(
        "INSERT INTO outbox (id, source, event_type, subject, event_time, partition_key, key_hash, event)"
        " SELECT id, source, event_type, subject, event_time, subject, 0, event FROM event_store WHERE position = 1"
    )
    await outbox.accept(connection, [event(3, subject="k")])
    await outbox_is_empty(pool)
    assert [row["id"] for row in await pool.fetch("SELECT id FROM event_store ORDER BY position")] == ["1", "2", "3"]
    ((_, events),) = (await published(kafka, topic)).items()
    assert list(dict.fromkeys(positions(events))) == [1, 2, 3]


async def test_one_relay_is_active_and_another_takes_over(
    make_relay: Callable[..., Relay], connection: Connection, pool: Pool
) -> None:
    relays = [make_relay() for _ in range(3)]
    for relay in relays:
        await relay.start()

    async def one_is_active() -> bool:
        return sum(relay.is_active for relay in relays) == 1

    await until(one_is_active, SECONDS)
    for _ in range(2):
        active = next(relay for relay in relays if relay.is_active)
        relays.remove(active)
        await active.stop()
        await until(one_is_active, SECONDS)
    await outbox.accept(connection, [event(1)])
    await outbox_is_empty(pool)


async def test_a_relay_whose_connection_is_ended_goes_on(
    make_relay: Callable[..., Relay], connection: Connection, pool: Pool, kafka: str, topic: str
) -> None:
    relay = make_relay()
    await relay.start()
    for number in range(5):
        await outbox.accept(connection, [event(f"{number}-{n}", subject=f"s{n}") for n in range(20)])
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    await outbox_is_empty(pool)
    by_partition = await published(kafka, topic)
    first: set[int] = set()
    for events in by_partition.values():
        new = list(dict.fromkeys(positions(events)))
        assert new == sorted(new)
        first |= set(new)
    assert first == set(range(1, 101))


async def test_stopping_twice_or_before_the_start_is_harmless(make_relay: Callable[..., Relay]) -> None:
    relay = make_relay()
    await relay.stop()
    other = make_relay()
    await other.start()
    await other.stop()
    await other.stop()


async def test_after_a_round_that_took_too_long_the_next_rounds_are_smaller(
    make_relay: Callable[..., Relay], connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "TIMEOUT_SECONDS", 2.0)
    await pool.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$"
    )
    await pool.execute("CREATE TRIGGER slow BEFORE INSERT ON event_store FOR EACH ROW EXECUTE FUNCTION slow()")
    await outbox.accept(connection, [event(n, subject="k") for n in range(40)])
    relay = make_relay()
    await relay.start()
    await outbox_is_empty(pool)
    assert not relay.crashed
    assert relay.events == await pool.fetchval("SELECT count(*) FROM event_store") == 40
