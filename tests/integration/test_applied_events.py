"""Waiting until an event is applied, on a real database: whom it wakes, when it gives up, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tables.database import Database, Pool
from tables.projections.applied_events import AppliedEvents

from tests.support.waiting import until

STORE = """
INSERT INTO event_store (position, id, source, event_type, event_time, received_at, partition, event)
VALUES ($1, $2, '/tests', 'tested', now(), now(), $3, '{}')
"""
APPLY = """
INSERT INTO progress (projection, partition, position) VALUES ($1, $2, $3)
ON CONFLICT (projection, partition) DO UPDATE SET position = excluded.position
"""
HEAD = "UPDATE relay_state SET last_position = greatest(last_position, $1)"
LONG_SECONDS = 30.0
SHORT_SECONDS = 0.2
SOURCE = "/tests"


async def store(pool: Pool, position: int, event_id: str, *, partition: int = 0) -> None:
    await pool.execute(STORE, position, event_id, partition)


async def apply(pool: Pool, projection: str, position: int, *, partition: int = 0) -> None:
    await pool.execute(HEAD, position)
    await pool.execute(APPLY, projection, partition, position)


@pytest.fixture
async def applied(database: Database) -> AsyncIterator[AppliedEvents]:
    opened = AppliedEvents(database, ["a", "b"], max_events=5)
    yield opened
    opened.close()


async def test_an_event_that_is_applied_is_told_at_once(applied: AppliedEvents, pool: Pool) -> None:
    await store(pool, 1, "1")
    await apply(pool, "a", 1)
    await apply(pool, "b", 7)
    assert await applied.wait(SOURCE, "1", LONG_SECONDS)


async def test_every_projection_must_be_past_the_event_or_the_one_that_is_asked_for(
    applied: AppliedEvents, pool: Pool
) -> None:
    await store(pool, 1, "1")
    await apply(pool, "a", 1)
    assert await applied.wait(SOURCE, "1", LONG_SECONDS, projection="a")
    assert not await applied.wait(SOURCE, "1", SHORT_SECONDS, projection="b")
    assert not await applied.wait(SOURCE, "1", SHORT_SECONDS)


async def test_an_event_that_comes_later_wakes_who_waits_for_it(applied: AppliedEvents, pool: Pool) -> None:
    waiting = asyncio.create_task(applied.wait(SOURCE, "1", LONG_SECONDS))
    other = asyncio.create_task(applied.wait(SOURCE, "2", LONG_SECONDS))
    await store(pool, 1, "1")
    await apply(pool, "a", 1)
    await apply(pool, "b", 1)
    assert await waiting
    assert not other.done()
    other.cancel()


async def test_the_progress_of_another_partition_does_not_count(applied: AppliedEvents, pool: Pool) -> None:
    await store(pool, 1, "1", partition=3)
    for projection in ("a", "b"):
        await apply(pool, projection, 9, partition=2)
    assert not await applied.wait(SOURCE, "1", SHORT_SECONDS)


async def test_all_events_of_a_batch_must_be_applied(applied: AppliedEvents, pool: Pool) -> None:
    events = [(SOURCE, "1"), (SOURCE, "2"), (SOURCE, "1")]
    await store(pool, 1, "1", partition=0)
    await store(pool, 2, "2", partition=1)
    for projection in ("a", "b"):
        await apply(pool, projection, 1, partition=0)
    assert not await applied.wait_for_all(events, SHORT_SECONDS)
    for projection in ("a", "b"):
        await apply(pool, projection, 2, partition=1)
    assert await applied.wait_for_all(events, LONG_SECONDS)


async def test_a_large_batch_is_looked_for_in_pieces(database: Database, pool: Pool) -> None:
    applied = AppliedEvents(database, ["a"])
    await apply(pool, "a", 1_000)
    for position in range(1, 351):
        await store(pool, position, str(position))
    assert await applied.wait_for_all([(SOURCE, str(n)) for n in range(1, 351)], LONG_SECONDS)
    assert not await applied.wait_for_all([(SOURCE, str(n)) for n in range(351)], SHORT_SECONDS)


async def test_only_so_many_events_may_be_waited_for(applied: AppliedEvents) -> None:
    waiting = [asyncio.create_task(applied.wait(SOURCE, str(n), LONG_SECONDS)) for n in range(5)]
    await asyncio.sleep(0)
    async with asyncio.timeout(LONG_SECONDS):
        assert not await applied.wait(SOURCE, "one too many", 2 * LONG_SECONDS)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert not await applied.wait(SOURCE, "there is room again", SHORT_SECONDS)
    for task in waiting:
        task.cancel()


@pytest.mark.parametrize("wrong", ["\0", "\ud800"])
async def test_text_that_postgresql_cannot_take_names_no_event(applied: AppliedEvents, wrong: str) -> None:
    async with asyncio.timeout(LONG_SECONDS):
        assert not await applied.wait(SOURCE, wrong, 2 * LONG_SECONDS)


async def test_closing_lets_everybody_go(applied: AppliedEvents) -> None:
    waiting = [asyncio.create_task(applied.wait(SOURCE, str(n), 2 * LONG_SECONDS)) for n in range(3)]
    await asyncio.sleep(0)
    applied.close()
    async with asyncio.timeout(LONG_SECONDS):
        assert await asyncio.gather(*waiting) == [False, False, False]
        assert not await applied.wait(SOURCE, "1", 2 * LONG_SECONDS)


async def test_postgresql_may_come_back_while_somebody_waits(database_dsn: str, pool: Pool) -> None:
    await store(pool, 1, "1")
    await apply(pool, "a", 1)
    database = Database(pool_size=1, timeout_seconds=5)
    waiting = asyncio.create_task(AppliedEvents(database, ["a"]).wait(SOURCE, "1", LONG_SECONDS))
    await asyncio.sleep(0)
    assert not waiting.done()
    await database.open(database_dsn)
    assert await waiting
    database.close()


async def test_nobody_looks_when_nobody_waits(database_dsn: str, pool: Pool) -> None:
    database = Database(pool_size=5, timeout_seconds=5)
    await database.open(database_dsn)
    applied = AppliedEvents(database, ["a"])
    waits = [applied.wait(SOURCE, str(n), SHORT_SECONDS) for n in range(50)]
    assert not any(await asyncio.gather(*waits))

    async def nobody_looks() -> bool:
        return applied._poller is None

    await until(nobody_looks, LONG_SECONDS)
    connections = await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'headrace'"
    )
    assert connections == 1
    database.close()
