"""The position of a projection: every event up to it is applied, and no greater one could be said."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tables.database import AnyConnection, Pool, connect
from tables.projections.positions import ProjectionPosition, advance_idle_partitions, positions

LAST = "UPDATE relay_state SET last_position = last_position + 1 RETURNING last_position"
STORE = """
INSERT INTO event_store (position, id, source, event_type, event_time, received_at, recorded_at, partition, event)
VALUES ($1::bigint, 'e' || $1::bigint, '/tests', 'tested', now(), now(),
        clock_timestamp() - $3::float8 * interval '1 second', $2, '{}')
"""
STORE_PARTITION = """
INSERT INTO topic_partitions (partition, last_position) VALUES ($2, $1)
ON CONFLICT (partition) DO UPDATE SET last_position = excluded.last_position
"""
APPLY = """
INSERT INTO progress (projection, partition, position, updated_at)
VALUES ($1, $2, $3, clock_timestamp() - $4::float8 * interval '1 second')
ON CONFLICT (projection, partition) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at
"""
APPLY_ALL = (
    "INSERT INTO progress (projection, partition, position) SELECT $1, partition, last_position FROM topic_partitions"
)


async def store(pool: Pool, *partitions: int, seconds_ago: float = 0) -> None:
    """One event for each of these partitions, in one commit as the relay does it."""
    async with pool.acquire() as connection, connection.transaction():
        for partition in partitions:
            position = await connection.fetchval(LAST)
            await connection.execute(STORE, position, partition, seconds_ago)
            await connection.execute(STORE_PARTITION, position, partition)


async def apply(
    where: Pool | AnyConnection, partition: int, position: int, *, projection: str = "p", seconds_ago: float = 0
) -> None:
    await where.execute(APPLY, projection, partition, position, seconds_ago)


async def told(pool: Pool, projection: str = "p") -> ProjectionPosition:
    async with pool.acquire() as connection:
        (one,) = await positions(connection, [projection])
    return one


async def advance(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await advance_idle_partitions(connection)


async def progress(pool: Pool) -> dict[tuple[str, int], int]:
    rows = await pool.fetch("SELECT projection, partition, position FROM progress")
    return {(row["projection"], row["partition"]): row["position"] for row in rows}


async def test_with_no_events_nothing_is_behind(pool: Pool) -> None:
    assert await told(pool) == ProjectionPosition("p", 0, 0, 0.0, 0.0)


async def test_what_has_applied_nothing_is_behind_from_the_first_event(pool: Pool) -> None:
    await store(pool, 3, 3, 5)
    one = await told(pool)
    assert (one.position, one.lag_events) == (0, 3)


async def test_the_position_is_just_before_the_first_event_that_is_not_applied(pool: Pool) -> None:
    await store(pool, 0, 1, 0, 1, 0)
    await apply(pool, 1, 4)
    await apply(pool, 0, 1)
    one = await told(pool)
    assert (one.position, one.lag_events) == (2, 3)


async def test_idle_partitions_do_not_hold_a_projection_back(pool: Pool) -> None:
    await store(pool, 0, 1, 1, 1)
    await apply(pool, 0, 1)
    await apply(pool, 1, 4)
    assert await told(pool) == ProjectionPosition("p", 4, 0, 0.0, 0.0)


async def test_each_projection_has_a_position_of_its_own_in_the_order_asked_for(pool: Pool) -> None:
    await store(pool, 0, 0)
    await apply(pool, 0, 2, projection="fast")
    await apply(pool, 0, 1, projection="slow")
    async with pool.acquire() as connection:
        found = await positions(connection, ["slow", "new", "fast"])
    assert [(one.projection, one.position) for one in found] == [("slow", 1), ("new", 0), ("fast", 2)]


async def test_the_lag_is_the_age_of_the_oldest_event_that_is_not_applied(pool: Pool) -> None:
    await store(pool, 0, seconds_ago=900)
    await store(pool, 1, seconds_ago=600)
    await store(pool, 0, seconds_ago=300)
    await apply(pool, 0, 1)
    assert (await told(pool)).lag_seconds == pytest.approx(600, abs=30)


async def test_waiting_counts_from_the_last_progress_of_the_partition_that_waits_longest(pool: Pool) -> None:
    await store(pool, 0, 0, 1, 1, seconds_ago=900)
    await apply(pool, 0, 1, seconds_ago=600)
    await apply(pool, 1, 3, seconds_ago=5)
    assert (await told(pool)).waits_seconds == pytest.approx(600, abs=30)


async def test_after_a_quiet_time_waiting_counts_from_the_new_event(pool: Pool) -> None:
    await store(pool, 0, seconds_ago=90_000)
    await apply(pool, 0, 1, seconds_ago=90_000)
    await store(pool, 0, seconds_ago=100)
    assert (await told(pool)).waits_seconds == pytest.approx(100, abs=30)


async def test_advancing_moves_idle_partitions_to_the_last_position_and_no_other(pool: Pool) -> None:
    await store(pool, 0, 1, 2, 1)
    await apply(pool, 0, 1)
    await apply(pool, 1, 2)
    await apply(pool, 2, 3, projection="other")
    await advance(pool)
    assert await progress(pool) == {("p", 0): 4, ("p", 1): 2, ("other", 2): 4}


async def test_advancing_leaves_the_time_of_the_last_progress(pool: Pool) -> None:
    await store(pool, 0, 1)
    await apply(pool, 0, 1, seconds_ago=500)
    before = await pool.fetchval("SELECT updated_at FROM progress")
    await advance(pool)
    assert await progress(pool) == {("p", 0): 2}
    assert await pool.fetchval("SELECT updated_at FROM progress") == before


async def test_advancing_does_not_wait_for_a_projector_nor_touch_what_it_holds(pool: Pool, database_dsn: str) -> None:
    await store(pool, 0, 1, 2)
    await apply(pool, 0, 1)
    await apply(pool, 1, 2)
    projector = await connect(database_dsn, timeout_seconds=10)
    async with projector.transaction():
        await projector.execute("SELECT position FROM progress WHERE partition = 0 FOR UPDATE")
        await advance(pool)
        assert await progress(pool) == {("p", 0): 1, ("p", 1): 3}
        await apply(projector, 0, 1)
    await projector.close()
    await advance(pool)
    assert await progress(pool) == {("p", 0): 3, ("p", 1): 3}


async def test_advancing_sees_all_or_nothing_of_what_the_relay_stores(pool: Pool, database_dsn: str) -> None:
    await store(pool, 0, 1)
    await apply(pool, 0, 1)
    await apply(pool, 1, 2)
    relay = await connect(database_dsn, timeout_seconds=10)
    async with relay.transaction():
        assert await relay.fetchval(LAST) == 3
        await advance(pool)
        assert await progress(pool) == {("p", 0): 2, ("p", 1): 2}
        await relay.execute(STORE, 3, 0, 0)
        await relay.execute(STORE_PARTITION, 3, 0)
    await relay.close()
    await advance(pool)
    assert await progress(pool) == {("p", 0): 2, ("p", 1): 3}


class Model:
    """Every event of an example and which of them are applied, event by event; `base` events were there before."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.stored: list[int] = []
        self.applied: dict[int, int] = {}

    def _events(self) -> list[tuple[int, int]]:
        return list(enumerate(self.stored, self.base + 1))

    def position(self) -> int:
        waiting = (position for position, of in self._events() if position > self.applied.get(of, 0))
        return next(waiting, self.base + len(self.stored) + 1) - 1

    def waiting(self, partition: int) -> list[int]:
        return [p for p, of in self._events() if of == partition and p > self.applied.get(partition, 0)]


partitions = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("store"), st.lists(partitions, min_size=1, max_size=4)),
    st.tuples(st.just("apply"), st.tuples(partitions, st.integers(1, 3))),
    st.tuples(st.just("advance"), st.none()),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=15))
async def test_the_position_is_exact_and_never_goes_backwards(pool: Pool, history: list[tuple[str, Any]]) -> None:
    model = Model(base=await pool.fetchval("SELECT last_position FROM relay_state"))
    projection = str(uuid.uuid4())
    await pool.execute(APPLY_ALL, projection)
    before = model.base
    for step, what in history:
        if step == "store":
            await store(pool, *what)
            model.stored += what
        elif step == "apply":
            partition, at_most = what
            for position in model.waiting(partition)[:at_most]:
                model.applied[partition] = position
                await apply(pool, partition, position, projection=projection)
        else:
            await advance(pool)
        one = await told(pool, projection)
        assert one.position == model.position() >= before
        assert one.lag_events == model.base + len(model.stored) - one.position
        before = one.position


EVENTS = 200


def partition_of(position: int) -> int:
    return position * 7 % 4


async def relay(pool: Pool) -> None:
    for position in range(1, EVENTS + 1):
        await store(pool, partition_of(position))


async def projector(pool: Pool, partition: int) -> None:
    for position in [position for position in range(1, EVENTS + 1) if partition_of(position) == partition]:
        while await pool.fetchval("SELECT last_position FROM relay_state") < position:
            await told(pool)
        async with pool.acquire() as connection, connection.transaction():
            reached = await connection.fetchval(
                "SELECT position FROM progress WHERE projection = 'p' AND partition = $1 FOR UPDATE", partition
            )
            assert reached is None or reached < position, "an event that was not applied counts as applied"
            await apply(connection, partition, position)


async def keep_advancing(pool: Pool) -> None:
    while True:
        await advance(pool)


async def keep_asking(pool: Pool) -> None:
    before = 0
    while True:
        one = await told(pool)
        assert one.position >= before
        before = one.position


async def test_no_event_is_passed_over_and_no_position_goes_back_while_all_run_at_once(pool: Pool) -> None:
    busy = [asyncio.create_task(keep_advancing(pool)), asyncio.create_task(keep_asking(pool))]
    await asyncio.gather(relay(pool), *(projector(pool, partition) for partition in range(4)))
    for task in busy:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    assert await told(pool) == ProjectionPosition("p", EVENTS, 0, 0.0, 0.0)
