"""Group commit: many requests, few commits, each told what became of its events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from headrace.errors import DependencyAwayError
from headrace.events.envelope import ParsedEvent
from headrace.events.outcome import Outcome
from tables.database import AnyConnection, Database, Pool
from tables.intake import outbox
from tables.intake.group_commit import GroupCommit, QueueFullError

from tests.support.data.events import event
from tests.support.servers.fresh import free_port
from tests.support.waiting import until

ACCEPTED, DUPLICATE, CONFLICT, UNSTORABLE = Outcome


def group_commit(database: Database, *, max_queued_events: int = 10_000) -> tuple[GroupCommit, list[None]]:
    commits: list[None] = []
    return GroupCommit(database, max_queued_events=max_queued_events, committed=lambda: commits.append(None)), commits


def unstorable(number: int) -> ParsedEvent:
    """What the parser would never let through, to see the database refuse it."""
    return replace(event(number), text='{"id":"\\u0000"}')


async def test_events_that_arrive_together_share_commits(database: Database, pool: Pool) -> None:
    group, commits = group_commit(database)
    outcomes = await asyncio.gather(*(group.submit([event(number)]) for number in range(200)))
    assert outcomes == [[ACCEPTED]] * 200
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 200
    assert len(commits) <= 3


async def test_the_order_of_seq_is_the_order_of_submission(database: Database, pool: Pool) -> None:
    group, _ = group_commit(database)
    await asyncio.gather(*(group.submit([event(n), event(f"{n}b")]) for n in range(100)))
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM outbox ORDER BY seq")]
    assert ids == [name for n in range(100) for name in (str(n), f"{n}b")]


async def test_one_id_at_once_is_accepted_once(database: Database, pool: Pool) -> None:
    group, _ = group_commit(database)
    outcomes = await asyncio.gather(*(group.submit([event(1)]) for _ in range(20)))
    assert sorted(one.value for (one,) in outcomes) == ["accepted"] + ["duplicate"] * 19
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 1


async def test_two_doors_that_take_the_same_events_in_another_order(database: Database, pool: Pool) -> None:
    doors = [group_commit(database)[0] for _ in range(3)]
    events = [event(number) for number in range(300)]
    shuffled = [random.Random(seed).sample(events, len(events)) for seed in range(3)]
    outcomes = await asyncio.gather(
        *(door.submit(chosen) for door, chosen in zip(doors, shuffled, strict=True)),
    )
    flat = [one for answer in outcomes for one in answer]
    assert flat.count(ACCEPTED) == 300
    assert flat.count(DUPLICATE) == 600
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 300


async def test_the_same_id_twice_in_one_request(database: Database) -> None:
    group, _ = group_commit(database)
    events = [event(1), event(2), event(1), event(2, data="other"), event(1)]
    assert await group.submit(events) == [ACCEPTED, ACCEPTED, DUPLICATE, CONFLICT, DUPLICATE]


async def test_an_id_that_comes_often_in_one_request_is_sent_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[int] = []
    accept = outbox.accept

    async def counted(
        connection: AnyConnection, events: Sequence[ParsedEvent], callers: outbox.Callers
    ) -> dict[int, bool | None]:
        statements.append(len(events))
        return await accept(connection, events, callers)

    monkeypatch.setattr(outbox, "accept", counted)
    group, _ = group_commit(database)
    events = [event(1)] * 1_000 + [event(1, data=str(number)) for number in range(1_000)]
    assert await group.submit(events) == [ACCEPTED] + [DUPLICATE] * 999 + [CONFLICT] * 1_000
    assert statements == [1]


async def test_where_the_first_of_an_id_is_refused_the_next_is_taken(database: Database) -> None:
    group, _ = group_commit(database)
    events = [unstorable(1), unstorable(1), event(1), event(1), event(1, data="other")]
    assert await group.submit(events) == [UNSTORABLE, UNSTORABLE, ACCEPTED, DUPLICATE, CONFLICT]


async def test_an_event_that_the_database_refuses_spoils_no_other(database: Database, pool: Pool) -> None:
    group, _ = group_commit(database)
    outcomes = await asyncio.gather(
        group.submit([event(1), unstorable(2), event(3)]),
        group.submit([unstorable(4)]),
        group.submit([event(5)]),
    )
    assert list(outcomes) == [[ACCEPTED, UNSTORABLE, ACCEPTED], [UNSTORABLE], [ACCEPTED]]
    assert {row["id"] for row in await pool.fetch("SELECT id FROM outbox")} == {"1", "3", "5"}


async def test_a_full_queue_is_told_at_once(database: Database, pool: Pool) -> None:
    group, _ = group_commit(database, max_queued_events=10)
    results = await asyncio.gather(*(group.submit([event(n)]) for n in range(50)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, QueueFullError)]
    assert len(refused) == 40
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 10
    assert await group.submit([event(99)]) == [ACCEPTED]


async def test_a_batch_larger_than_the_queue_is_taken_when_the_queue_is_empty(database: Database) -> None:
    group, _ = group_commit(database, max_queued_events=10)
    assert await group.submit([event(n) for n in range(50)]) == [ACCEPTED] * 50


async def test_a_lost_connection_is_told_and_the_next_request_succeeds(database: Database, pool: Pool) -> None:
    group, _ = group_commit(database)
    await group.submit([event(1)])
    async with pool.acquire() as blocker:
        await blocker.execute("BEGIN")
        await blocker.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(group.submit([event(2)]))
        killed = False
        while not killed:
            killed = bool(
                await pool.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
            )
        with pytest.raises(DependencyAwayError):
            await waiting
        await blocker.execute("ROLLBACK")
    assert await group.submit([event(2)]) in ([ACCEPTED], [DUPLICATE])


async def test_before_the_database_is_known_it_counts_as_away() -> None:
    group, _ = group_commit(Database(pool_size=1, timeout_seconds=1))
    with pytest.raises(DependencyAwayError):
        await group.submit([event(1)])


async def test_a_client_that_goes_away_takes_no_one_with_it(database: Database, pool: Pool) -> None:
    group, _ = group_commit(database)
    going, staying = (asyncio.create_task(group.submit([event(n)])) for n in (1, 2))
    await asyncio.sleep(0)
    going.cancel()
    assert await staying == [ACCEPTED]
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 2


async def test_a_full_queue_tells_when_what_waits_should_be_written(database: Database, pool: Pool) -> None:
    group, _ = group_commit(database, max_queued_events=10)
    async with pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        first = asyncio.create_task(group.submit([event("first")]))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(group.submit([event(n)])) for n in range(10)]

        async def is_full() -> bool:
            return group.queued_events == 10

        await until(is_full, 10)
        with pytest.raises(QueueFullError) as full:
            group.check_room()
        assert 1 <= full.value.retry_after_seconds <= 60
        with pytest.raises(QueueFullError):
            await group.submit([event("one more")])
    assert await asyncio.gather(first, *waiting) == [[ACCEPTED]] * 11
    group.check_room()


async def test_the_queue_is_limited_in_bytes_too(database: Database) -> None:
    group = GroupCommit(database, max_queued_events=1_000, max_queued_bytes=10_000, committed=lambda: None)
    results = await asyncio.gather(
        *(group.submit([event(n, data="ü€" * 1_000)]) for n in range(10)), return_exceptions=True
    )
    assert sum(isinstance(one, QueueFullError) for one in results) == 8
    assert group.queued_bytes == group.queued_events == 0


async def test_where_postgresql_cannot_be_reached_all_that_wait_are_told_at_once(database_dsn: str) -> None:
    nowhere = Database(pool_size=1, timeout_seconds=1)
    await nowhere.open(f"postgresql://x@127.0.0.1:{free_port()}/x")
    group, _ = group_commit(nowhere)
    results = await asyncio.gather(
        *(group.submit([event(n) for n in range(1_500)]) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(one, DependencyAwayError) for one in results)
    assert group.queued_bytes == group.queued_events == 0


async def poison(pool: Pool, then: str) -> None:
    """Let PostgreSQL do something unforeseen with each event that has the id `poison`."""
    await pool.execute(f"CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {then}; END $$")
    await pool.execute(
        "CREATE TRIGGER poison BEFORE INSERT ON outbox FOR EACH ROW WHEN (NEW.id = 'poison') EXECUTE FUNCTION poison()"
    )


async def test_an_unforeseen_error_fails_the_request_that_causes_it_and_no_other(
    database: Database, pool: Pool
) -> None:
    await poison(pool, "RAISE 'nobody expects this'")
    group, _ = group_commit(database)
    sent = [event("poison" if number == 7 else number) for number in range(20)]
    outcomes = await asyncio.gather(*(group.submit([one]) for one in sent), return_exceptions=True)
    (failed,) = [one for one in outcomes if isinstance(one, Exception)]
    assert "nobody expects this" in str(failed)
    assert outcomes.count([ACCEPTED]) == 19
    assert await group.submit([event("later")]) == [ACCEPTED]


async def test_after_a_statement_that_took_too_long_the_next_ones_have_fewer_events(
    database_dsn: str, pool: Pool
) -> None:
    hasty = Database(pool_size=3, timeout_seconds=1.0)
    await hasty.open(database_dsn)
    await pool.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$"
    )
    await pool.execute("CREATE TRIGGER slow BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION slow()")
    group, _ = group_commit(hasty)
    events = [event(number) for number in range(30)]
    tries = 0
    async with asyncio.timeout(30):
        while True:
            tries += 1
            try:
                outcomes = await group.submit(events)
            except DependencyAwayError:
                continue
            break
    hasty.close()
    assert set(outcomes) <= {ACCEPTED, DUPLICATE}
    assert 1 < tries < 5
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 30
