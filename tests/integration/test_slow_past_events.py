"""Stored events that PostgreSQL reads or writes slowly: fewer are tried together, and no event keeps others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agents.parked.retrier import Retrier
from agents.projector import batch_size
from agents.projector.catch_up import CatchUp
from agents.projector.projector import Projector
from headrace.folding.parked_groups import Group
from headrace.projection import Event, Projection
from tables.database import Connection, Database, Pool
from tables.parked import parked as table
from tables.projections import writing

from tests.support.data.numbers_projection import Numbered, make_projection, parked, rows
from tests.support.data.stored_numbers import apply, store
from tests.support.waiting import until

TIMEOUT_SECONDS = 1.0


@pytest.fixture
async def hasty(database_dsn: str) -> AsyncIterator[Database]:
    """A database whose statements time out soon."""
    hasty = Database(pool_size=4, timeout_seconds=TIMEOUT_SECONDS)
    await hasty.open(database_dsn)
    yield hasty
    hasty.close()


async def slow_down(pool: Pool, seconds: str) -> None:
    """Make PostgreSQL need so many seconds for the text of each event; they may depend on `event`."""
    await pool.execute(
        "CREATE OR REPLACE FUNCTION event_as_text(event jsonb) RETURNS text LANGUAGE plpgsql VOLATILE AS "
        f"$$ BEGIN PERFORM pg_sleep({seconds}); RETURN event::text; END $$"
    )


async def has_rows(pool: Pool, name: str) -> bool:
    return bool(await rows(pool, name))


async def caught_up(projector: Projector[Any]) -> None:
    while not await projector.catch_up():
        pass


async def test_a_catch_up_whose_reads_take_too_long_reads_fewer_events(
    hasty: Database, connection: Connection, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await store(connection, [(str(number), number) for number in range(1, 21)])
    await slow_down(pool, "0.1")
    await asyncio.wait_for(caught_up(Projector(make_projection(), hasty)), 40)
    assert len(await rows(pool)) == 20
    assert await parked(pool) == []
    assert "PostgreSQL took too long to read" in caplog.text


async def test_a_catch_up_up_to_a_position_reads_fewer_events_too(
    hasty: Database, connection: Connection, pool: Pool
) -> None:
    stored = await store(connection, [("a", number) for number in range(1, 21)])
    await slow_down(pool, "0.1")
    projector = Projector(make_projection(), hasty)
    async with asyncio.timeout(40):
        while not await projector.catch_up_with(stored[-1].partition, stored[-1].position):
            pass
    assert (await rows(pool))["a"][0] == list(range(1, 21))


async def test_a_single_stored_event_that_is_read_slowly_gets_more_time(
    hasty: Database, connection: Connection, pool: Pool
) -> None:
    await store(connection, [("a", number) for number in range(1, 5)])
    await slow_down(pool, "CASE WHEN event->'data'->>'number' = '3' THEN 1.5 ELSE 0 END")
    await asyncio.wait_for(caught_up(Projector(make_projection(), hasty)), 40)
    assert (await rows(pool))["a"][0] == [1, 2, 3, 4]


async def test_a_projection_that_cannot_catch_up_does_not_hold_up_the_others(
    hasty: Database, connection: Connection, pool: Pool
) -> None:
    await store(connection, [("a", 1)])
    await pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$"
    )
    await pool.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON projections FOR EACH ROW WHEN (NEW.projection = 'first') "
        "EXECUTE FUNCTION refuse()"
    )
    service = CatchUp([Projector(make_projection(name), hasty) for name in ("first", "second")])
    await service.start()
    try:
        await until(lambda: has_rows(pool, "second"), 20)
        assert not service.crashed
        await pool.execute("DROP TRIGGER refuse ON projections")
        await until(lambda: has_rows(pool, "first"), 20)
    finally:
        await service.stop()


async def park(database: Database, connection: Connection, numbers: list[tuple[str, int]]) -> None:
    """Park these events: the first of each subject is negative."""
    await apply(Projector(make_projection(), database), await store(connection, numbers))


async def test_a_retry_that_takes_too_long_is_split(
    database: Database, hasty: Database, connection: Connection, pool: Pool
) -> None:
    await park(database, connection, [("a", -number) for number in range(1, 21)])
    await slow_down(pool, "0.1")
    retrier = Retrier([make_projection(refuses_negative=False)], hasty)
    outcome = await asyncio.wait_for(retrier.retry("numbers", Group("a")), 40)
    assert (outcome.applied, outcome.still_parked, outcome.failures) == (20, 0, [])
    assert (await rows(pool))["a"][0] == [-number for number in range(1, 21)]


async def test_a_parked_event_that_always_takes_too_long_keeps_no_other_key_from_its_retry(
    database: Database, hasty: Database, connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_size, "FIRST_LONG_SECONDS", 1.0)
    monkeypatch.setattr(batch_size, "MAX_LONG_SECONDS", 1.0)
    await park(database, connection, [("a", -1), ("a", 2), ("b", -3)])
    await slow_down(pool, "CASE WHEN event->>'subject' = 'a' THEN 60 ELSE 0 END")
    retrier = Retrier([make_projection(refuses_negative=False)], hasty)
    outcome = await asyncio.wait_for(retrier.retry("numbers", None), 40)
    assert (outcome.applied, outcome.still_parked) == (1, 2)
    (failure,) = outcome.failures
    assert (failure.position, failure.key, failure.error.split(":")[0]) == (1, "a", "TooSlowError")
    assert await rows(pool) == {"b": ([-3], 3, 1)}


async def test_an_unforeseen_error_in_a_key_keeps_no_other_key_from_its_retry(
    database: Database, connection: Connection, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await park(database, connection, [("a", -1), ("b", -2)])
    await pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$"
    )
    await pool.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON projections FOR EACH ROW WHEN (NEW.key = 'a') EXECUTE FUNCTION refuse()"
    )
    outcome = await Retrier([make_projection(refuses_negative=False)], database).retry("numbers", None)
    assert (outcome.applied, outcome.still_parked) == (1, 1)
    assert [(one.position, one.error) for one in outcome.failures] == [(1, "RaiseError: not this one")]
    assert "failed unexpectedly" in caplog.text


class Wide(msgspec.Struct):
    text: str


def wide_projection(*, key_works: bool) -> Projection[Wide]:
    def key(event: Event[Any]) -> str:
        if not key_works:
            raise ValueError("no key")
        return str(event.data.number)

    projection = Projection("numbers", state=Wide, key=key, description="…")
    projection.on("numbered", Numbered)(lambda _, event: Wide(str(event.data.number % 10) * 30_000))
    return projection


async def test_parked_events_whose_rows_are_too_large_together_are_retried_in_parts(
    database: Database, connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [("a", number) for number in range(1, 21)]
    await apply(Projector(wide_projection(key_works=False), database), await store(connection, numbers))
    monkeypatch.setattr(writing, "MAX_STATE_BYTES", 100_000)
    retrier = Retrier([wide_projection(key_works=True)], database)
    outcome = await retrier.retry("numbers", Group("a", key_is_known=False))
    assert (outcome.applied, outcome.still_parked, outcome.failures) == (20, 0, [])
    assert await pool.fetchval("SELECT count(*) FROM projections") == 20


async def test_parked_events_are_read_in_parts_of_few_bytes(
    database: Database, connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await park(database, connection, [("a", -number) for number in range(1, 31)])
    monkeypatch.setattr(table, "MAX_BYTES", 2_000)
    found = await table.first(connection, "numbers", Group("a"), at_most=500)
    assert 1 < len(found.events) < 20
    assert not found.is_all
    outcome = await Retrier([make_projection(refuses_negative=False)], database).retry("numbers", Group("a"))
    assert (outcome.applied, outcome.still_parked) == (30, 0)
    assert await parked(pool) == []
