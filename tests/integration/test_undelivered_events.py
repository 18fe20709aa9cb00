"""What is stored and not delivered is read from the store; what is beyond the store is named."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agents.kafka.authority import Authority
from agents.projector import undelivered_events
from agents.projector.projector import Projector
from agents.projector.undelivered_events import UndeliveredEvents
from tables.database import Connection, Database, Pool
from tables.history import epochs
from tables.intake import outbox

from tests.support.data.events import event
from tests.support.data.numbers_projection import Numbers, make_projection, rows
from tests.support.data.stored_numbers import PARTITIONS, store
from tests.support.waiting import until

SECONDS = 20.0


@pytest.fixture
def projector(database: Database) -> Projector[Numbers]:
    return Projector(make_projection(), database, authority=Authority())


@pytest.fixture
async def watch(
    database: Database, projector: Projector[Numbers], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[UndeliveredEvents]:
    monkeypatch.setattr(undelivered_events, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(undelivered_events, "INTERVAL_SECONDS", 0.05)
    service = UndeliveredEvents(database, {"numbers": projector}, Authority())
    yield service
    await service.stop()


async def numbers_are(pool: Pool, expected: list[int]) -> None:
    async def they_are() -> bool:
        found = await rows(pool)
        return bool(found) and found["a"][0] == expected

    await until(they_are, SECONDS)


async def test_stored_events_are_applied_though_no_topic_delivers_them(
    watch: UndeliveredEvents, connection: Connection, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await store(connection, [("a", 1), ("a", 2)])
    await watch.start()
    await numbers_are(pool, [1, 2])
    await store(connection, [("a", 3)])
    await numbers_are(pool, [1, 2, 3])
    assert "the topic has not delivered the events of partition" in caplog.text
    assert "CONSUMER_GROUP" in caplog.text


async def test_an_event_that_the_relay_still_publishes_is_left_to_the_topic(
    watch: UndeliveredEvents, connection: Connection, pool: Pool
) -> None:
    await outbox.accept(connection, [event(1, type="numbered", subject="a", data={"number": 1})])
    (stored,) = await outbox.store_next(connection, [], at_most=10, partitions=PARTITIONS)
    await watch.start()
    assert not await watch._behind()
    await outbox.delete(connection, [stored.seq])
    await numbers_are(pool, [1])


async def test_a_batch_in_hand_is_left_to_its_projector(
    watch: UndeliveredEvents, connection: Connection, projector: Projector[Numbers], pool: Pool
) -> None:
    await store(connection, [("a", 1)])
    projector.is_applying = True
    await watch.start()

    async def has_been_quiet() -> bool:
        return bool(watch._quiet(await watch._behind()))

    await until(has_been_quiet, SECONDS)
    assert await rows(pool) == {}
    projector.is_applying = False
    await numbers_are(pool, [1])


async def test_progress_beyond_the_store_is_named(
    watch: UndeliveredEvents, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await store(connection, [("a", 1)])
    await connection.execute("INSERT INTO progress (projection, partition, position) VALUES ('numbers', 0, 77)")
    await watch.start()

    async def is_named() -> bool:
        return "the progress of partition 0 is 77, but the event store ends at 1" in caplog.text

    await until(is_named, SECONDS)


async def test_a_new_epoch_is_noticed_though_nothing_comes(
    database: Database, projector: Projector[Numbers], connection: Connection
) -> None:
    authority = Authority()
    service = UndeliveredEvents(database, {"numbers": projector}, authority)
    await service._behind()
    opened = await epochs.open_next(connection)
    await service._behind()
    assert (await authority.timeline(connection)).epoch == opened.epoch
