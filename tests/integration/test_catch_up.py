"""A projection gets all of the history, wherever the topic begins."""

from __future__ import annotations

import asyncio
import json

import msgspec

from agents.kafka.authority import Authority
from agents.kafka.fetch_batches import RecordBatch
from agents.projector.projector import Projector
from headrace.events.topic_record import encode
from headrace.projection import Projection
from tables.database import Connection, Database, Pool
from tables.history import epochs
from tables.intake import outbox
from tables.intake.outbox import StoredEvent

from tests.support.data.events import event
from tests.support.data.signed_records import batch_of_stored


class Seen(msgspec.Struct):
    ids: list[str]


def make_projector(database: Database, name: str = "seen", authority: Authority | None = None) -> Projector[Seen]:
    projection = Projection(name, state=Seen, key=lambda event: event.subject or "", description="The ids of a subject")
    projection.on_every_other_event(lambda state, event: Seen([*(state.ids if state else []), event.id]))
    return Projector(projection, database, authority=authority)


async def store(connection: Connection, numbers: range) -> list[StoredEvent]:
    """Store events of eleven subjects, as the relay does."""
    await outbox.accept(connection, [event(number, subject=f"s{number % 11}") for number in numbers])
    stored = await outbox.store_next(connection, [], at_most=10_000, partitions=4)
    await outbox.delete(connection, [one.seq for one in stored])
    return stored


async def seen(pool: Pool, name: str = "seen") -> dict[str, list[str]]:
    rows = await pool.fetch("SELECT key, state->'ids' AS ids FROM projections WHERE projection = $1", name)
    return {row["key"]: json.loads(row["ids"]) for row in rows}


def expected(numbers: range) -> dict[str, list[str]]:
    return {f"s{key}": [str(n) for n in numbers if n % 11 == key] for key in range(11)}


async def test_a_new_projection_gets_the_whole_history(database: Database, connection: Connection, pool: Pool) -> None:
    await store(connection, range(2_500))
    await make_projector(database).catch_up()
    assert await seen(pool) == expected(range(2_500))
    await make_projector(database).catch_up()
    assert await seen(pool) == expected(range(2_500))


async def test_a_projection_without_events_has_nothing_to_catch_up(database: Database, pool: Pool) -> None:
    await make_projector(database).catch_up()
    assert await seen(pool) == {}


async def test_a_topic_that_begins_late_leaves_no_gap(database: Database, connection: Connection, pool: Pool) -> None:
    await store(connection, range(1_500))
    late = await store(connection, range(1_500, 1_600))
    projector = make_projector(database)
    for partition in range(4):
        values = [encode(one.text, one.position) for one in late if one.partition == partition]
        await projector.apply(RecordBatch({partition: values}))
    assert await seen(pool) == expected(range(1_600))


async def test_what_the_topic_has_lost_in_the_middle_comes_from_the_store(
    database: Database, connection: Connection, pool: Pool
) -> None:
    stored = await store(connection, range(400))
    projector = make_projector(database)
    for partition in range(4):
        events = [one for one in stored if one.partition == partition]
        for start, end in ((0, 20), (30, 40), (40, len(events))):  # ten are lost
            follows = events[start - 1].position if start else 0
            values = [encode(one.text, one.position) for one in events[start:end]]
            await projector.apply(RecordBatch({partition: values}, {partition: follows}))
    assert await seen(pool) == expected(range(400))


async def test_what_a_fetch_lacks_between_its_records_comes_from_the_store(
    database: Database, connection: Connection, pool: Pool
) -> None:
    stored = await store(connection, range(400))
    found = await epochs.read(connection)
    projector = make_projector(database, authority=Authority())
    for partition in range(4):
        events = [one for one in stored if one.partition == partition]
        linked = list(zip(events, [0, *(one.position for one in events)], strict=False))
        # Refused by the broker; then compacted.
        await projector.apply(batch_of_stored(found, [*linked[:20], *linked[30:50]]))
        await projector.apply(batch_of_stored(found, linked[50::3]))
        await projector.catch_up_with(partition, events[-1].position)
    assert await seen(pool) == expected(range(400))


async def test_the_topic_and_the_store_at_the_same_time(database: Database, connection: Connection, pool: Pool) -> None:
    stored = await store(connection, range(1_200))

    async def from_the_topic(partition: int) -> None:
        projector = make_projector(database)
        values = [encode(one.text, one.position) for one in stored if one.partition == partition]
        for start in range(0, len(values), 50):
            await projector.apply(RecordBatch({partition: values[start : start + 50]}))

    async def from_the_store() -> None:
        await make_projector(database).catch_up()

    await asyncio.gather(from_the_store(), *(from_the_topic(partition) for partition in range(4)))
    assert await seen(pool) == expected(range(1_200))


async def test_catching_up_looks_again_where_another_worker_was_faster(
    database: Database, connection: Connection, pool: Pool
) -> None:
    await store(connection, range(2_500))
    await asyncio.gather(*(make_projector(database).catch_up() for _ in range(6)))
    assert await seen(pool) == expected(range(2_500))
