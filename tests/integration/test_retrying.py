"""After a fix, parked events are applied in order; without one they stay; discarded ones are left out."""

from __future__ import annotations

import asyncio

import pytest
from numbers_projection import Numbers, make_projection, parked, rows
from stored_numbers import apply, store

from agents.projector import Projector
from agents.retrying import EVENTS_AT_ONCE, Retrier
from app.parking import Failure, Group, NotFirstError, NotParkedError
from tables.database import Connection, Database, Pool

BEHIND = "waits behind an earlier event of its key that is parked"


@pytest.fixture
def projector(database: Database) -> Projector[Numbers]:
    return Projector(make_projection(), database)


@pytest.fixture
def fixed(database: Database) -> Retrier:
    return Retrier([make_projection(refuses_negative=False)], database)


@pytest.fixture
def unfixed(database: Database) -> Retrier:
    return Retrier([make_projection()], database)


async def attempts(pool: Pool) -> dict[int, int]:
    return {row["position"]: row["attempts"] for row in await pool.fetch("SELECT position, attempts FROM parked")}


async def test_a_fixed_handler_gets_what_waited_and_the_row_is_the_fold(
    projector: Projector[Numbers], fixed: Retrier, connection: Connection, pool: Pool
) -> None:
    numbers = [("a", 1), ("a", -2), ("b", 3), ("a", 4), ("a", -5), ("a", 6)]
    await apply(projector, await store(connection, numbers))
    outcome = await fixed.retry("numbers", Group("a"))
    assert (outcome.applied, outcome.still_parked, outcome.failures) == (4, 0, [])
    assert await rows(pool) == {"a": ([1, -2, 4, -5, 6], 6, 2), "b": ([3], 3, 1)}
    assert await parked(pool) == []
    await apply(projector, await store(connection, [("a", 7), ("b", 8)]))
    assert await rows(pool) == {"a": ([1, -2, 4, -5, 6, 7], 7, 3), "b": ([3, 8], 8, 2)}


async def test_what_fails_again_stays_with_all_behind_it(
    projector: Projector[Numbers], unfixed: Retrier, connection: Connection, pool: Pool
) -> None:
    await apply(projector, await store(connection, [("a", -1), ("a", 2), ("b", -3)]))
    before = await attempts(pool)
    await pool.execute("UPDATE parked SET error = 'an older one' WHERE position = 1")
    outcome = await unfixed.retry("numbers", None)
    assert (outcome.applied, outcome.still_parked) == (0, 3)
    assert outcome.failures == [Failure(1, "a", "ValueError: negative"), Failure(3, "b", "ValueError: negative")]
    assert await parked(pool) == [(1, "a", "ValueError: negative"), (2, "a", BEHIND), (3, "b", "ValueError: negative")]
    assert await attempts(pool) == {1: before[1] + 1, 2: 0, 3: before[3] + 1}


async def test_a_retry_goes_as_far_as_it_can(
    projector: Projector[Numbers], database: Database, connection: Connection, pool: Pool
) -> None:
    await apply(projector, await store(connection, [("a", -1), ("a", 2), ("a", -30), ("a", 4)]))
    projection = make_projection(refuses_negative=False)
    better = projection.by_type["numbered"]

    def handler(state: Numbers | None, event: object) -> Numbers | None:
        if event.data.number < -10:  # type: ignore[attr-defined]
            raise ValueError("very negative")
        return better.handler(state, event)  # type: ignore[arg-type]

    projection.by_type["numbered"] = type(better)(better.data, handler)
    outcome = await Retrier([projection], database).retry("numbers", Group("a"))
    assert (outcome.applied, outcome.still_parked) == (2, 2)
    assert outcome.failures == [Failure(3, "a", "ValueError: very negative")]
    assert await rows(pool) == {"a": ([-1, 2], 2, 1)}


async def test_many_events_go_in_steps(
    projector: Projector[Numbers], fixed: Retrier, connection: Connection, pool: Pool
) -> None:
    many = 2 * EVENTS_AT_ONCE + 7
    await apply(projector, await store(connection, [("a", -number) for number in range(1, many + 1)]))
    outcome = await fixed.retry("numbers", Group("a"))
    assert (outcome.applied, outcome.still_parked) == (many, 0)
    assert (await rows(pool))["a"] == ([-number for number in range(1, many + 1)], many, 3)


async def test_a_request_whose_time_is_up_tells_what_is_left(
    projector: Projector[Numbers], database: Database, connection: Connection
) -> None:
    await apply(projector, await store(connection, [("a", -1), ("a", 2)]))
    hasty = Retrier([make_projection(refuses_negative=False)], database, most_seconds=0)
    outcome = await hasty.retry("numbers", Group("a"))
    assert (outcome.applied, outcome.still_parked, outcome.failures) == (0, 2, [])


async def test_retries_while_projectors_of_other_workers_apply_lose_and_double_nothing(
    database: Database, connection: Connection, pool: Pool
) -> None:
    def number(place: int) -> int:
        return -place if place % 7 == 0 else place

    stored = await store(connection, [(f"s{place % 3}", number(place)) for place in range(1, 601)])
    applying = True

    async def worker(partition: int) -> None:
        projector = Projector(make_projection(), database)
        own = [one for one in stored if one.partition == partition]
        for start in range(0, len(own), 5):
            await apply(projector, own[start : start + 5])

    async def retrying() -> None:
        retrier = Retrier([make_projection(refuses_negative=False)], database)
        while applying:
            await retrier.retry("numbers", None)
        await retrier.retry("numbers", None)

    retries = asyncio.create_task(retrying())
    await asyncio.gather(*(worker(partition) for partition in range(4)))
    applying = False
    await retries
    assert await parked(pool) == []
    assert {key: numbers for key, (numbers, _, _) in (await rows(pool)).items()} == {
        f"s{key}": [number(place) for place in range(1, 601) if place % 3 == key] for key in range(3)
    }


async def test_events_whose_key_is_told_now_go_to_their_rows_or_wait_there(
    database: Database, connection: Connection, pool: Pool
) -> None:
    def key(event: object) -> str:
        return f"{event.subject} {'even' if event.data.number % 2 == 0 else 'odd'}"  # type: ignore[attr-defined]

    strict, lenient = make_projection(), make_projection()
    strict.key = lenient.key = key
    lenient.by_type["also numbered"] = lenient.by_type["numbered"]
    numbers = [("a", 1), ("a", -3), ("a", "none"), ("a", 5), ("a", 6), ("a", -8), ("a", 10)]
    stored = await store(connection, numbers)
    await apply(Projector(strict, database), stored)
    assert [(p, k) for p, k, _ in await parked(pool)] == [(2, "a odd"), *((p, "a") for p in range(3, 8))]

    class Unnumbered:
        number = 0

    lenient_decoding = lenient.by_type["numbered"]
    lenient.by_type["numbered"] = type(lenient_decoding)(
        dict, lambda state, event: lenient_decoding.handler(state, _as_numbers(event))
    )
    lenient.key = lambda event: key(_as_numbers(event))
    retrier = Retrier([lenient], database)
    outcome = await retrier.retry("numbers", Group("a", key_is_known=False))
    assert (outcome.applied, outcome.still_parked, outcome.failures) == (1, 0, [])
    assert await rows(pool) == {"a odd": ([1], 1, 1), "a even": ([6], 5, 1)}
    assert [(p, k) for p, k, _ in await parked(pool)] == [
        (2, "a odd"),
        (3, "a odd"),
        (4, "a odd"),
        (6, "a even"),
        (7, "a even"),
    ]
