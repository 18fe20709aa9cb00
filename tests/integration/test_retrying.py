"""After a fix, parked events are applied in order; without one they stay; discarded ones are left out."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agents.parked.retrier import EVENTS_AT_ONCE, Retrier
from agents.projector.projector import Projector
from app.commands.parked_text import outcome_text
from headrace.folding.parked_groups import Failure, Group, NotFirstError, NotParkedError, ParkedOutcome
from headrace.projection import Event, Projection, Subscription
from tables.database import Connection, Database, Pool

from tests.support.data.numbers_projection import Numbered, Numbers, make_projection, parked, rows
from tests.support.data.stored_numbers import apply, store
from tests.support.waiting import until

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
    numbered = projection.by_type["numbered"]

    def handler(state: Numbers | None, event: Event[Any]) -> Numbers | None:
        if event.data.number < -10:
            raise ValueError("very negative")
        return numbered.handler(state, event)

    projection.by_type["numbered"] = Subscription(Numbered, handler)
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
    hasty = Retrier([make_projection(refuses_negative=False)], database, max_seconds=0)
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


class Spelled(msgspec.Struct):
    number: int | str


def by_parity(event: Event[Any]) -> str:
    if event.data.number == "three":
        return f"{event.subject} odd"
    return f"{event.subject} {'odd' if event.data.number % 2 else 'even'}"


def by_parity_projection(*, reads_words: bool) -> Projection[Numbers]:
    projection = make_projection()
    projection.key = by_parity
    numbered = projection.by_type["numbered"]
    if reads_words:

        def handler(state: Numbers | None, event: Event[Any]) -> Numbers | None:
            number = 3 if event.data.number == "three" else event.data.number
            return numbered.handler(state, replace(event, data=Numbered(number)))

        projection.by_type["numbered"] = Subscription(Spelled, handler)
    return projection


async def test_events_whose_key_is_told_now_go_to_their_rows_or_wait_there(
    database: Database, connection: Connection, pool: Pool
) -> None:
    numbers = [("a", 1), ("a", -3), ("a", "three"), ("a", 5), ("a", 6), ("a", -8), ("a", 10), ("b", "three")]
    await apply(Projector(by_parity_projection(reads_words=False), database), await store(connection, numbers))
    waiting = [(position, key) for position, key, _ in await parked(pool)]
    assert waiting == [(2, "a odd"), *((position, "a") for position in range(3, 8)), (8, "b")]
    retrier = Retrier([by_parity_projection(reads_words=True)], database)
    outcome = await retrier.retry("numbers", Group("a", key_is_known=False))
    assert (outcome.applied, outcome.still_parked, outcome.failures) == (1, 4, [])
    assert await rows(pool) == {"a odd": ([1], 1, 1), "a even": ([6], 5, 1)}
    moved = [(position, key) for position, key, _ in await parked(pool)]
    assert moved == [(2, "a odd"), (3, "a odd"), (4, "a odd"), (6, "a even"), (7, "a even"), (8, "b")]


async def test_what_the_database_cannot_hold_stays_and_the_rest_goes(
    database: Database, connection: Connection, pool: Pool
) -> None:
    projector = Projector(make_projection(), database)
    await apply(projector, await store(connection, [("a", -1), *(("a", number) for number in range(2, 30))]))
    projection = make_projection(refuses_negative=False)
    numbered = projection.by_type["numbered"]

    def handler(state: Numbers | None, event: Event[Any]) -> Any:
        return object() if event.data.number == 20 else numbered.handler(state, event)

    projection.by_type["numbered"] = Subscription(Numbered, handler)
    outcome = await Retrier([projection], database).retry("numbers", Group("a"))
    assert (outcome.applied, outcome.still_parked) == (19, 10)
    assert [(one.position, one.error.split(":")[0]) for one in outcome.failures] == [(20, "StateError")]


async def test_the_first_event_is_discarded_and_the_others_go_on_without_it(
    projector: Projector[Numbers], unfixed: Retrier, connection: Connection, pool: Pool
) -> None:
    await apply(projector, await store(connection, [("a", 1), ("a", -2), ("a", 3), ("a", -4), ("a", 5)]))
    with pytest.raises(NotFirstError, match="position 3 waits behind the event at position 2"):
        await unfixed.discard("numbers", 3, reason="wrong", by="tests")
    outcome = await unfixed.discard("numbers", 2, reason="a wrong number", by="tests")
    assert (outcome.discarded, outcome.applied, outcome.still_parked) == (1, 1, 2)
    assert [one.position for one in outcome.failures] == [4]
    assert await rows(pool) == {"a": ([1, 3], 3, 2)}
    kept = await pool.fetch("SELECT position, key, error, reason, discarded_by FROM discarded")
    assert [tuple(row) for row in kept] == [(2, "a", "ValueError: negative", "a wrong number", "tests")]
    with pytest.raises(NotParkedError):
        await unfixed.discard("numbers", 2, reason="again", by="tests")


async def test_a_whole_key_is_discarded_and_its_new_events_are_applied(
    projector: Projector[Numbers], unfixed: Retrier, connection: Connection, pool: Pool
) -> None:
    await apply(projector, await store(connection, [("a", 1), ("a", -2), *(("a", 3) for _ in range(EVENTS_AT_ONCE))]))
    outcome = await unfixed.discard("numbers", Group("a"), reason="wrong", by="tests")
    assert (outcome.discarded, outcome.applied, outcome.still_parked) == (EVENTS_AT_ONCE + 1, 0, 0)
    await apply(projector, await store(connection, [("a", 4)]))
    assert (await rows(pool))["a"][0] == [1, 4]


async def test_events_that_are_parked_during_a_discard_are_not_discarded(
    projector: Projector[Numbers], unfixed: Retrier, connection: Connection, pool: Pool
) -> None:
    await apply(projector, await store(connection, [("a", -1), ("a", 2)]))
    later = await store(connection, [("a", 3), ("a", 4)])
    # As if they had been parked between the request and the discard.
    async with pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("SELECT FROM progress FOR UPDATE")
        discarding = asyncio.create_task(unfixed.discard("numbers", Group("a"), reason="wrong", by="tests"))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

        async def is_waiting() -> bool:
            return bool(await pool.fetchval(waits))

        await until(is_waiting, 20)
        await blocker.execute(
            "INSERT INTO parked (projection, position, key, error, key_is_known, attempts)"
            " SELECT 'numbers', position, 'a', $2, true, 0 FROM unnest($1::bigint[]) AS position",
            [one.position for one in later],
            BEHIND,
        )
    outcome = await discarding
    assert (outcome.discarded, outcome.applied, outcome.still_parked) == (2, 2, 0)
    assert await pool.fetchval("SELECT count(*) FROM discarded") == 2


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (None, "numbers: 2 discarded; of the events behind, 3 applied, 4 still parked"),
        (Group("a"), "numbers, key 'a': 2 discarded; of the events behind, 3 applied, 4 still parked"),
        (Group("a", False), "numbers, partition key 'a': 2 discarded; of the events behind, 3 applied, 4 still parked"),
        (7, "numbers, key of position 7: 2 discarded; of the events behind, 3 applied, 4 still parked"),
    ],
)
def test_the_command_says_what_its_numbers_count(what: Group | int | None, said: str) -> None:
    assert outcome_text(ParkedOutcome("numbers", 2, 3, 4, []), what) == (said,)


async def test_a_key_that_is_not_parked_is_an_error(unfixed: Retrier) -> None:
    for group in (Group("a"), Group("a", key_is_known=False)):
        with pytest.raises(NotParkedError):
            await unfixed.retry("numbers", group)
        with pytest.raises(NotParkedError):
            await unfixed.discard("numbers", group, reason="wrong", by="tests")
