"""`GET /api/v1/projections/{name}/changes`: every changed row is told, and a point resumes exactly."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents.projector.projector import Projector
from tables.database import Database, Pool
from tables.projections import changes as changes_table
from web.query import change_feed

from tests.support.clients.event_stream import EventStream, apply_to
from tests.support.clients.query_client import Client
from tests.support.data.sums_projection import SUMS, apply, serving_sums, store

SUMS_CHANGES = "/api/v1/projections/sums/changes"
COUNTS_CHANGES = "/api/v1/projections/counts/changes"


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving_sums(database) as opened:
        yield opened


async def states(pool: Pool, projection: str = "sums") -> dict[str, Any]:
    rows = await pool.fetch("SELECT key, state FROM projections WHERE projection = $1", projection)
    return {row["key"]: json.loads(row["state"]) for row in rows}


async def test_a_changed_row_is_told_as_its_own_address_answers_it(
    client: Client, pool: Pool, database: Database
) -> None:
    async with EventStream(client, SUMS_CHANGES) as stream:
        await store(pool, ("a", 1))
        await apply(database)
        (told,) = await stream.take()
        assert told.kind == "message"
        assert told.data == await (await client.get("/api/v1/projections/sums/a")).json()
        assert told.data["state"] == {"total": 1, "events": 1}


async def test_each_changed_row_comes_once_for_what_was_committed_together(
    client: Client, pool: Pool, database: Database
) -> None:
    async with EventStream(client, SUMS_CHANGES) as stream:
        await store(pool, ("a", 1), ("b", 1), ("a", 2), ("c", 1))
        await apply(database)
        told = await stream.take(3)
        assert [(one.data["key"], one.data["state"]["total"]) for one in told] == [("b", 1), ("a", 3), ("c", 1)]


async def test_a_deleted_row_is_an_event_of_its_own_type(client: Client, pool: Pool, database: Database) -> None:
    async with EventStream(client, SUMS_CHANGES) as stream:
        await store(pool, ("a", 1))
        await apply(database)
        await stream.take()
        (position,) = await store(pool, ("a", 0))
        await apply(database)
        (told,) = await stream.take()
        assert (told.kind, told.data) == ("deleted", {"projection": "sums", "key": "a", "position": position})


async def test_last_event_id_resumes_exactly_after_each_event(client: Client, pool: Pool, database: Database) -> None:
    chance = random.Random(7)
    async with EventStream(client, SUMS_CHANGES) as stream:
        told = []
        for _ in range(5):
            amounts = [(f"s{chance.randrange(9)}", chance.randrange(0, 5)) for _ in range(8)]
            positions = await store(pool, *amounts)
            await apply(database)
            told += await stream.take(len({subject for subject, _ in amounts}))
            assert max(one.data["position"] for one in told) <= positions[-1]
    expected = await states(pool)
    for index, one in enumerate(told):
        rows: dict[str, Any] = {}
        for earlier in told[: index + 1]:
            apply_to(rows, earlier)
        later = {other.data["key"] for other in told[index + 1 :]}
        async with EventStream(client, SUMS_CHANGES, one.id) as resumed:
            again = await resumed.take(len(later)) if later else []
            assert {other.data["key"] for other in again} == later
            for other in again:
                apply_to(rows, other)
            assert rows == expected
            assert resumed.last_id.split(".")[2:] == stream.last_id.split(".")[2:]


async def test_a_row_that_several_partitions_feed_is_told_for_each(
    client: Client, pool: Pool, database: Database
) -> None:
    async with EventStream(client, COUNTS_CHANGES) as stream:
        for number in range(1, 6):
            await store(pool, (f"s{number}", 1))
            await apply(database)
            assert [told.data["state"]["events"] for told in await stream.take()] == [number]


@pytest.mark.parametrize("seed", range(3))
async def test_a_client_that_breaks_off_and_resumes_ends_with_the_rows_as_they_are(
    client: Client, pool: Pool, database: Database, seed: int
) -> None:
    """Partitions are applied by projectors side by side, whose transactions commit in any order."""
    chance = random.Random(seed)
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(15):
            await store(pool, *((f"s{chance.randrange(20)}", chance.randrange(0, 4)) for _ in range(40)))
            await asyncio.gather(*(_apply_partition(database, partition) for partition in (0, 1, 2, 3, 3)))
        done.set()

    async with EventStream(client, SUMS_CHANGES) as first:
        start = first.last_id
        writing = asyncio.create_task(write())
        following = [
            asyncio.create_task(_break_off_and_resume(client, pool, start, done, chance)),
            asyncio.create_task(_break_off_and_resume(client, pool, start, done, chance)),
        ]
        await writing
        await first.follow({}, await states(pool))
        await asyncio.gather(*following)


async def _break_off_and_resume(
    client: Client, pool: Pool, last_id: str, done: asyncio.Event, chance: random.Random
) -> None:
    rows: dict[str, Any] = {}
    while not done.is_set():
        async with EventStream(client, SUMS_CHANGES, last_id) as stream:
            reading = asyncio.create_task(stream.take(chance.randrange(1, 12)))
            finishing = asyncio.create_task(done.wait())
            await asyncio.wait({reading, finishing}, return_when=asyncio.FIRST_COMPLETED)
            finishing.cancel()
            if reading.done():
                for told in reading.result():
                    apply_to(rows, told)
                    last_id = told.id
            reading.cancel()
    async with EventStream(client, SUMS_CHANGES, last_id) as stream:
        await stream.follow(rows, await states(pool))


async def _apply_partition(database: Database, partition: int) -> None:
    projector = Projector(SUMS, database)
    async with database.acquire() as connection:
        await projector.applier.apply_past(connection, None, after=0, before=10**9, partition=partition)


async def test_a_parked_event_changes_nothing_and_is_told_once_it_is_applied_after_all(
    client: Client, pool: Pool, database: Database
) -> None:
    async with EventStream(client, SUMS_CHANGES) as stream:
        await store(pool, ("a", 1), ("a", -1), ("b", 1))
        await apply(database)
        assert [told.data["key"] for told in await stream.take(2)] == ["a", "b"]
        await store(pool, ("a", 5), ("c", 1))
        await apply(database)
        assert [told.data["key"] for told in await stream.take(1)] == ["c"]
        before = stream.last_id
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE projections SET state = '{\"total\": 9, \"events\": 2}' WHERE key = 'a'")
            await connection.execute("DELETE FROM parked")
        (told,) = await stream.take()
        assert (told.data["key"], told.data["state"]["total"]) == ("a", 9)
    async with EventStream(client, SUMS_CHANGES, before) as again:
        assert [(one.data["key"], one.data["state"]["total"]) for one in await again.take()] == [("a", 9)]


async def test_a_point_of_another_life_of_the_projection_is_reset(
    client: Client, pool: Pool, database: Database
) -> None:
    await store(pool, ("a", 1), ("b", 1))
    await apply(database)
    async with EventStream(client, SUMS_CHANGES) as stream:
        point = stream.last_id
        async with pool.acquire() as connection, connection.transaction():
            for table in ("projections", "progress"):
                await connection.execute(f"DELETE FROM {table} WHERE projection = 'sums'")
        (told,) = await stream.take()
        assert (told.kind, told.data["projection"]) == ("reset", "sums")
        await apply(database)
        assert {one.data["key"] for one in await stream.take(2)} == {"a", "b"}
    async with EventStream(client, SUMS_CHANGES, point) as again:
        (told,) = await again.take()
        assert told.kind == "reset"
        await store(pool, ("c", 1))
        await apply(database)
        assert [one.data["key"] for one in await again.take()] == ["c"]


async def test_a_point_that_is_too_far_back_is_reset(
    client: Client, pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_table, "MAX_POSITIONS_BEHIND", 10)
    await store(pool, ("a", 1), partitions=1)
    await apply(database)
    async with EventStream(client, SUMS_CHANGES) as stream:
        point = stream.last_id
    for _ in range(11):
        await store(pool, ("a", 1), partitions=1)
    await apply(database)
    async with EventStream(client, SUMS_CHANGES, point) as again:
        assert [one.kind for one in await again.take()] == ["reset"]


async def test_a_long_way_is_told_in_parts_that_each_can_be_resumed_from(
    client: Client, pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EventStream(client, SUMS_CHANGES) as stream:
        last_id = stream.last_id
    monkeypatch.setattr(change_feed, "EVENTS_AT_ONCE", 3)
    await store(pool, *((f"s{number % 13}", 1) for number in range(60)))
    await apply(database)
    rows: dict[str, Any] = {}
    expected = await states(pool)
    for _ in range(60):
        async with EventStream(client, SUMS_CHANGES, last_id) as resumed:
            (told,) = await resumed.take()
            apply_to(rows, told)
            last_id = told.id
        if rows == expected:
            return
    raise AssertionError(rows)


async def test_a_reader_that_is_too_slow_catches_up(
    client: Client, pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "MOST_WAITING_CHANGES", 4)
    async with EventStream(client, SUMS_CHANGES) as stream:
        await store(pool, *((f"s{number}", 1) for number in range(30)))
        await apply(database)
        await stream.follow({}, await states(pool))
