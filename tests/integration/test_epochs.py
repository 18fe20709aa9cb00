"""Epochs: which records are genuine when relays come and go, and when the database steps back."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from agents.kafka.authority import Authority
from agents.kafka.fetch_batches import RecordBatch
from agents.projector.projector import Projector
from headrace.events.genuine_records import Reason
from headrace.events.origin import MAX_POSITION
from headrace.events.topic_record import encode
from tables.database import Connection, Database, Pool
from tables.history import epochs
from tables.intake import outbox
from tables.projections import changes, undelivered
from tables.projections.applied_events import AppliedEvents

from tests.support.data.events import event
from tests.support.data.numbers_projection import Numbers, make_projection, progress, rows
from tests.support.data.signed_records import batch_of_stored, signed
from tests.support.data.stored_numbers import PARTITIONS, store
from tests.support.waiting import until

SAME = [("a", number) for number in range(1, 31)]
# What a restored copy has: an older end, and the epochs of then.
STEP_BACK = """
ALTER TABLE event_store DISABLE TRIGGER event_store_is_append_only;
GRANT UPDATE, DELETE ON event_store TO CURRENT_USER;
DELETE FROM event_store WHERE position > 10;
UPDATE relay_state SET last_position = 10;
UPDATE topic_partitions SET last_position = 10 WHERE last_position > 10;
DELETE FROM projections;
DELETE FROM progress;
"""


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def projector(database: Database, authority: Authority) -> Projector[Numbers]:
    return Projector(make_projection(), database, authority=authority)


def numbers_up_to(last: int) -> list[int]:
    return list(range(1, last + 1))


async def test_a_database_begins_with_an_epoch_that_has_no_end(connection: Connection) -> None:
    found = await epochs.read(connection)
    assert found.ends == {found.epoch: MAX_POSITION}
    assert found.unsigned_end == MAX_POSITION


async def test_each_relay_ends_the_epoch_before_it(connection: Connection) -> None:
    first = await epochs.read(connection)
    await store(connection, SAME[:7])
    second = await epochs.open_next(connection)
    await store(connection, SAME[7:9])
    third = await epochs.open_next(connection)
    assert third.ends == {first.epoch: 7, second.epoch: 9, third.epoch: MAX_POSITION}
    assert (third.unsigned_end, third.last_position) == (7, 9)
    assert await epochs.state(connection) == (third.epoch, 9)


async def test_only_so_many_epochs_are_kept(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "MAX_EPOCHS", 3)
    for _ in range(5):
        found = await epochs.open_next(connection)
    assert len(found.ends) <= 4
    assert found.unsigned_end == 0


async def test_records_of_an_epoch_that_was_closed_meanwhile_are_passed_over(
    connection: Connection, database: Database, projector: Projector[Numbers], pool: Pool
) -> None:
    lost = await store(connection, SAME[:20])
    before = await epochs.read(connection)
    place = lost[0].partition
    follows = [0, *(one.position for one in lost)]
    linked = list(zip(lost, follows, strict=False))
    await projector.apply(batch_of_stored(before, linked))
    assert await progress(pool, place) == 20
    await connection.execute(STEP_BACK)
    await epochs.open_next(connection)
    again = await store(connection, [("a", 100 + number) for number in range(5)])
    now = await epochs.read(connection)
    authority = Authority()
    other = Projector(make_projection(), database, authority=authority)
    await other.apply(batch_of_stored(before, linked[10:]))
    await projector.apply(batch_of_stored(now, list(zip(again, [10, 11, 12, 13, 14], strict=True))))
    assert (await rows(pool))["a"][0] == [*numbers_up_to(10), 100, 101, 102, 103, 104]
    assert authority.passed_over[Reason.ABANDONED] == 10


async def test_a_position_beyond_the_store_never_moves_the_progress(
    connection: Connection, projector: Projector[Numbers], authority: Authority, pool: Pool
) -> None:
    stored = await store(connection, SAME[:20])
    place, found = stored[0].partition, await epochs.read(connection)
    linked = list(zip(stored, [0, *(one.position for one in stored)], strict=False))
    await connection.execute(STEP_BACK)  # and no relay has been here since
    await projector.apply(batch_of_stored(found, linked))
    assert await progress(pool, place) == 10
    assert (await rows(pool))["a"][0] == numbers_up_to(10)
    assert authority.passed_over[Reason.AHEAD] == 10


async def test_memory_of_another_state_of_the_database_is_forgotten(
    connection: Connection, projector: Projector[Numbers], pool: Pool
) -> None:
    stored = await store(connection, SAME[:20])
    place, found = stored[0].partition, await epochs.read(connection)
    linked = list(zip(stored, [0, *(one.position for one in stored)], strict=False))
    await projector.apply(batch_of_stored(found, linked))
    await connection.execute(STEP_BACK)
    (one,) = await undelivered.behind(connection, ["numbers"])
    assert (one.partition, one.position, one.last_position) == (place, 0, 10)
    await projector.catch_up_with(place, 10)
    assert (await rows(pool))["a"][0] == numbers_up_to(10)


async def test_a_forged_position_does_not_keep_out_the_genuine_event(
    connection: Connection, projector: Projector[Numbers], pool: Pool
) -> None:
    stored = await store(connection, SAME[:5])
    place, found = stored[0].partition, await epochs.read(connection)
    forged = encode(stored[1].text.replace('"number":2', '"number":666'), 2)
    values = [encode(one.text, one.position) for one in stored]
    headers = [
        signed(value, before, partition=place, epoch=found.epoch, installation=found.installation)
        for value, before in zip(values, range(5), strict=True)
    ]
    batch = RecordBatch(
        {place: [values[0], forged, *values[1:]]}, headers={place: [headers[0], headers[1], *headers[1:]]}
    )
    await projector.apply(batch)
    assert (await rows(pool))["a"][0] == numbers_up_to(5)


async def test_nobody_is_answered_that_a_vanished_event_is_applied(
    connection: Connection, database: Database, projector: Projector[Numbers]
) -> None:
    stored = await store(connection, SAME[:20])
    applied = AppliedEvents(database, ["numbers"])
    waiting = asyncio.create_task(applied.wait("/tests", "15", 5))

    async def is_found() -> bool:
        return any(not waiter.not_stored for waiter in applied._waiters)

    await until(is_found, 20)
    await connection.execute(STEP_BACK)
    await epochs.open_next(connection)
    others = [event(1_000 + number, type="numbered", subject="a", data={"number": number}) for number in range(15)]
    await outbox.accept(connection, others)
    await outbox.store_next(connection, [], at_most=100, partitions=PARTITIONS)
    await projector.catch_up_with(stored[0].partition, 25)
    assert not await waiting


async def test_streams_of_changes_start_over_when_events_were_lost(
    connection: Connection, projector: Projector[Numbers]
) -> None:
    stored = await store(connection, SAME[:5])
    await projector.catch_up_with(stored[0].partition, 5)
    before = (await changes.read_points(connection, ["numbers"]))["numbers"]
    found = await epochs.read(connection)
    assert await epochs.note_abandoned(connection, found.epoch, 50)
    after = (await changes.read_points(connection, ["numbers"]))["numbers"]
    assert not after.follows(before)
    assert not await epochs.note_abandoned(connection, found.epoch, 50)
    assert (await changes.read_points(connection, ["numbers"]))["numbers"] == after
    (lost,) = await epochs.lost_events(connection)
    assert (lost.after_position, lost.last_position) == (5, 50)


async def test_a_memory_that_is_forgotten_between_two_steps_leaves_no_hole(
    connection: Connection, projector: Projector[Numbers], pool: Pool
) -> None:
    """The progress steps back, and the memory is cleared after it was compared with the batch."""
    stored = await store(connection, SAME[:10])
    place, found = stored[0].partition, await epochs.read(connection)
    linked = list(zip(stored, [0, *(one.position for one in stored)], strict=False))
    await projector.apply(batch_of_stored(found, linked))
    await connection.execute("DELETE FROM projections; DELETE FROM progress")
    batch = batch_of_stored(found, linked[9:]).checked(found)
    await projector.applier.fill_gaps(connection, batch, found.epoch)
    projector.applier._rows.cache.forget()
    with pytest.raises(asyncpg.SerializationError):
        await projector.applier.apply_events(connection, batch.events, found.epoch, batch.follows)
    await projector.apply(batch_of_stored(found, linked[9:]))
    assert (await rows(pool))["a"][0] == numbers_up_to(10)
    assert await progress(pool, place) == 10
