"""The projector: a batch is one transaction; what comes again changes nothing; what cannot be applied is parked."""

from __future__ import annotations

import asyncio

import pytest

from agents.projector.projector import Projector
from tables.database import Database, Pool

from tests.support.data.numbers_projection import Numbers, batch, make_projection, parked, progress, record, rows


@pytest.fixture
def projector(database: Database) -> Projector[Numbers]:
    return Projector(make_projection(), database)


async def test_a_batch_is_folded_in_order(projector: Projector[Numbers], pool: Pool) -> None:
    await projector.apply(batch(record(1, 1), record(3, 5, "b"), record(4, 2), record(9, 3)))
    assert await rows(pool) == {"a": ([1, 2, 3], 9, 1), "b": ([5], 3, 1)}
    assert await progress(pool) == 9


async def test_a_batch_that_comes_again_changes_nothing(projector: Projector[Numbers], pool: Pool) -> None:
    values = [record(1, 1), record(2, 2), record(1, 1), record(2, 2), record(3, 3)]
    await projector.apply(batch(*values))
    before = await rows(pool)
    assert before == {"a": ([1, 2, 3], 3, 1)}
    await projector.apply(batch(*values[:3]))
    assert await rows(pool) == before
    await projector.apply(batch(record(2, 2), record(4, 4)))
    assert await rows(pool) == {"a": ([1, 2, 3, 4], 4, 2)}


async def test_none_removes_the_row_and_a_later_event_makes_a_new_one(
    projector: Projector[Numbers], pool: Pool
) -> None:
    await projector.apply(batch(record(1, 1)))
    await projector.apply(batch(record(2, 0), record(3, 0, "never there")))
    assert await rows(pool) == {}
    await projector.apply(batch(record(4, 4)))
    assert await rows(pool) == {"a": ([4], 4, 1)}


async def test_events_of_other_types_move_the_progress_only(projector: Projector[Numbers], pool: Pool) -> None:
    await projector.apply(batch(record(1, 1, event_type="other"), record(2, 1, event_type="another")))
    assert await rows(pool) == {}
    assert await progress(pool) == 2


async def test_what_is_no_event_of_ours_is_passed_over(projector: Projector[Numbers], pool: Pool) -> None:
    foreign = [None, b"", b"no json", b"[]", b'{"id":"1"}', record(1, 1).replace(b"0" * 19 + b"1", b"99")]
    await projector.apply(batch(*foreign[:3], record(5, 5), *foreign[3:], record(6, 6)))
    assert await rows(pool) == {"a": ([5, 6], 6, 1)}
    assert await parked(pool) == []


async def test_a_key_with_a_failing_event_is_parked_and_every_other_key_goes_on(
    projector: Projector[Numbers], pool: Pool
) -> None:
    await projector.apply(batch(record(1, 1), record(2, -2), record(3, 3), record(4, 4, "b")))
    await projector.apply(batch(record(5, 5), record(6, 6, "b"), record(7, -7, "b"), record(8, 8, "c")))
    assert await rows(pool) == {"a": ([1], 1, 1), "b": ([4, 6], 6, 2), "c": ([8], 8, 1)}
    assert await progress(pool) == 8
    waits = "waits behind an earlier event of its key that is parked"
    assert await parked(pool) == [
        (2, "a", "ValueError: negative"),
        (3, "a", waits),
        (5, "a", waits),
        (7, "b", "ValueError: negative"),
    ]


async def test_data_that_cannot_be_decoded_is_parked(projector: Projector[Numbers], pool: Pool) -> None:
    await projector.apply(batch(record(1, "one"), record(2, 2, "b")))
    assert await rows(pool) == {"b": ([2], 2, 1)}
    ((position, _, error),) = await parked(pool)
    assert (position, error.split(":")[0]) == (1, "ValidationError")


async def test_what_the_database_cannot_hold_is_found_and_parked(database: Database, pool: Pool) -> None:
    projector = Projector(make_projection(), database)
    # An index takes keys of at most 2,704 bytes, as far as they do not compress.
    long = "".join(chr(0x4E00 + n) for n in range(3_000))
    await projector.apply(batch(*(record(n, n, long if n == 5 else "a") for n in range(1, 9))))
    await projector.apply(batch(record(9, 9, long), record(10, 10)))
    assert (await rows(pool))["a"][0] == [1, 2, 3, 4, 6, 7, 8, 10]
    assert [(position, key == long) for position, key, _ in await parked(pool)] == [(5, True), (9, True)]
    assert "waits behind" in (await parked(pool))[1][2]


async def test_one_row_fed_by_many_partitions_at_once_loses_nothing(database: Database, pool: Pool) -> None:
    async def handler(partition: int) -> None:
        projector = Projector(make_projection(), database)
        for start in range(1, 100, 10):
            positions = range(start, start + 10)
            await projector.apply(
                batch(*(record(p * 10 + partition, p * 10 + partition) for p in positions), partition=partition)
            )

    await asyncio.gather(*(handler(partition) for partition in range(4)))
    numbers, _, _ = (await rows(pool))["a"]
    assert sorted(numbers) == sorted(p * 10 + partition for partition in range(4) for p in range(1, 101))
    for partition in range(4):
        own = [number for number in numbers if number % 10 == partition]
        assert own == sorted(own)


async def test_two_handlers_of_one_partition_apply_each_event_once(database: Database, pool: Pool) -> None:
    values = [record(position, position) for position in range(1, 201)]

    async def handler(size: int) -> None:
        projector = Projector(make_projection(), database)
        for start in range(0, len(values), size):
            await projector.apply(batch(*values[start : start + size]))

    await asyncio.gather(handler(7), handler(13), handler(50))
    assert (await rows(pool))["a"][0] == list(range(1, 201))


async def test_a_database_that_is_away_is_waited_for(database_dsn: str, pool: Pool) -> None:
    database = Database(pool_size=1, timeout_seconds=5)
    projector = Projector(make_projection(), database)
    applying = asyncio.create_task(projector.apply(batch(record(1, 1))))
    await asyncio.sleep(0)
    assert not applying.done()
    await database.open(database_dsn)
    await asyncio.wait_for(applying, 10)
    assert await rows(pool) == {"a": ([1], 1, 1)}
    database.close()


async def test_projections_do_not_share_progress_or_rows(database: Database, pool: Pool) -> None:
    one, other = (Projector(make_projection(name), database) for name in ("one", "other"))
    await one.apply(batch(record(1, 1), record(2, 2)))
    await other.apply(batch(record(1, 1)))
    assert (await rows(pool, "one"), await rows(pool, "other")) == ({"a": ([1, 2], 2, 1)}, {"a": ([1], 1, 1)})
