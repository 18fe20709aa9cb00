"""What is parked: the event that fails after some tries, and, in order, what comes after it; nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from agents.parked.retrier import Retrier
from agents.projector import retry_schedule
from agents.projector.projector import Projector
from headrace.folding.parked_groups import Group
from headrace.projection import Event, Projection
from tables.database import Connection, Database, Pool

from tests.support.data.numbers_projection import Numbered, Numbers, batch, make_projection, parked, record, rows
from tests.support.data.stored_numbers import apply, store

BEHIND = "waits behind an earlier event of its key that is parked"


async def groups(pool: Pool) -> list[tuple[int, str, bool, int]]:
    found = await pool.fetch("SELECT position, key, key_is_known, attempts FROM parked ORDER BY position")
    return [tuple(row) for row in found]


@pytest.fixture
def projector(database: Database) -> Projector[Numbers]:
    return Projector(make_projection(), database)


async def test_followers_wait_that_another_worker_gets_on_another_partition(database: Database, pool: Pool) -> None:
    one, other = (Projector(make_projection(), database) for _ in range(2))
    await one.apply(batch(record(1, 1)))
    await other.apply(batch(record(2, 2), partition=1))
    await other.apply(batch(record(3, 3), partition=1))
    await one.apply(batch(record(4, -4)))
    await other.apply(batch(record(5, 5), record(6, 6, "b"), partition=1))
    assert await rows(pool) == {"a": ([1, 2, 3], 3, 3), "b": ([6], 6, 1)}
    assert await parked(pool) == [(4, "a", "ValueError: negative"), (5, "a", BEHIND)]


async def test_what_fails_is_tried_again_before_it_is_parked(database: Database, pool: Pool) -> None:
    projection = make_projection()
    subscription = projection.by_type["numbered"]
    failures = [MemoryError(), MemoryError()]

    @projection.on("flaky", Numbered)
    def flaky(state: Numbers | None, event: Event[Numbered]) -> Numbers | None:
        if failures:
            raise failures.pop()
        return subscription.handler(state, event)

    await Projector(projection, database).apply(batch(record(1, 1), record(2, 2, event_type="flaky"), record(3, 3)))
    assert failures == []
    assert await rows(pool) == {"a": ([1, 2, 3], 3, 1)}
    assert await parked(pool) == []


async def test_an_event_that_keeps_failing_tells_how_often_it_was_tried(
    projector: Projector[Numbers], pool: Pool
) -> None:
    await projector.apply(batch(record(1, -1), record(2, 2)))
    assert await groups(pool) == [(1, "a", True, 1 + len(retry_schedule.WAITS_SECONDS)), (2, "a", True, 0)]


async def test_many_failing_keys_do_not_wait_each_for_itself(
    projector: Projector[Numbers], pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_schedule, "COOLDOWN_SECONDS", 3_600.0)
    for position in range(1, 20):
        await projector.apply(batch(record(position, -1, str(position))))
    assert [attempts for *_, attempts in await groups(pool)] == [3] + [1] * 18


async def test_an_event_that_cannot_be_decoded_stops_its_key_alone(projector: Projector[Numbers], pool: Pool) -> None:
    await projector.apply(batch(record(1, 1), record(2, "two"), record(3, 3), record(4, 4, "b")))
    await projector.apply(batch(record(5, 5), record(6, 6, "b")))
    assert await rows(pool) == {"a": ([1], 1, 1), "b": ([4, 6], 6, 2)}
    assert await groups(pool) == [(2, "a", True, 3), (3, "a", True, 0), (5, "a", True, 0)]


async def test_an_event_whose_key_cannot_be_told_stops_its_partition_key(database: Database, pool: Pool) -> None:
    projection = make_projection()
    projection.key = lambda event: f"even {event.subject}" if event.data.number % 2 == 0 else f"odd {event.subject}"
    projector = Projector(projection, database)
    await projector.apply(batch(record(1, 1), record(2, 2), record(3, "three"), record(4, 4), record(5, 5, "b")))
    await projector.apply(batch(record(6, -7), record(7, 7), record(8, 8, "b")))
    assert await rows(pool) == {
        "odd a": ([1], 1, 1),
        "even a": ([2], 2, 1),
        "odd b": ([5], 5, 1),
        "even b": ([8], 8, 1),
    }
    assert await groups(pool) == [(3, "a", False, 3), (4, "a", False, 0), (6, "a", False, 0), (7, "a", False, 0)]


@pytest.mark.parametrize("key", [None, 1, "nul \0", "lone \ud800"])
async def test_a_key_that_is_none_is_parked_and_blocks_no_other(database: Database, pool: Pool, key: Any) -> None:
    projection = make_projection()
    projection.key = lambda event: key if event.data.number == 2 else event.subject or ""
    await Projector(projection, database).apply(batch(record(1, 1), record(2, 2), record(3, 3), record(4, 4, "b")))
    assert await rows(pool) == {"a": ([1], 1, 1), "b": ([4], 4, 1)}
    assert [position for position, *_ in await groups(pool)] == [2, 3]


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "result",
    [object(), "lone \ud800", ValueError("lone \ud800 and nul \0"), OddError()],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_a_handler_does_the_other_keys_go_on(database: Database, pool: Pool, result: Any) -> None:
    projection: Projection[Any] = make_projection()

    @projection.on("odd", Numbered)
    def odd(_: Any, event: Event[Numbered]) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    projector = Projector(projection, database)
    await projector.apply(batch(record(1, 1), record(2, 2, event_type="odd"), record(3, 3), record(4, 4, "b")))
    await projector.apply(batch(record(5, 5), record(6, 6, "b")))
    assert await rows(pool) == {"a": ([1], 1, 1), "b": ([4, 6], 6, 2)}
    assert [position for position, *_ in await groups(pool)] == [2, 3, 5]


async def test_a_row_that_the_projection_cannot_read_stops_its_key_alone(database: Database, pool: Pool) -> None:
    await Projector(make_projection(), database).apply(batch(record(1, 1), record(2, 2, "b")))
    await pool.execute("UPDATE projections SET state = '{\"of\": \"an older version\"}' WHERE key = 'a'")
    projector = Projector(make_projection(), database)
    await projector.apply(batch(record(3, 3), record(4, 4, "b"), record(5, 5)))
    assert [(position, attempts > 0) for position, _, _, attempts in await groups(pool)] == [(3, True), (5, False)]
    assert await pool.fetchval("SELECT position FROM projections WHERE key = 'b'") == 4


async def test_an_event_that_makes_its_row_too_large_is_parked_and_a_larger_limit_applies_it(
    database: Database, pool: Pool, connection: Connection
) -> None:
    projector = Projector(make_projection(), database, max_state_bytes=55)
    await apply(projector, await store(connection, [*[("large", 10**17)] * 4, ("small", 5)]))
    assert await rows(pool) == {"large": ([10**17] * 2, 2, 1), "small": ([5], 5, 1)}
    (first, second) = await parked(pool)
    assert first[:2] == (3, "large")
    assert "more than 55 bytes" in first[2]
    assert second == (4, "large", BEHIND)

    strict = Retrier([make_projection()], database, max_state_bytes=55)
    assert (await strict.retry("numbers", Group("large"))).failures[0].position == 3
    outcome = await Retrier([make_projection()], database).retry("numbers", Group("large"))
    assert (outcome.applied, outcome.still_parked) == (2, 0)
