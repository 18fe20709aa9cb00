"""Rows of any size: what is read and written together is bounded by bytes, and by what PostgreSQL can do in time."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from agents.projector import batch_size
from agents.projector.batch_size import BatchSize
from agents.projector.projector import Projector
from headrace.events.topic_record import decode
from headrace.folding import row_cache
from headrace.projection import Event, Projection
from tables.database import AnyConnection, Database, Pool
from tables.intake import dead_letters
from tables.projections import pages, writing
from tables.projections.pages import Place, Sort, read_page

from tests.support.data.numbers_projection import Numbered, batch, make_projection, parked, record, rows


class Wide(msgspec.Struct):
    text: str


def wide_projection(size: int) -> Projection[Wide]:
    projection = Projection("numbers", state=Wide, key=lambda event: event.subject or "", description="…")

    @projection.on("numbered", Numbered)
    def numbered(_: Wide | None, event: Event[Numbered]) -> Wide:
        return Wide(chr(ord("a") + event.data.number % 26) * size)

    return projection


class SlowWrites:
    """Makes writes of more rows than it allows as slow as wide rows do: the statement waits in PostgreSQL."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most_rows: int) -> None:
        self.sizes: list[int] = []
        real = writing.write

        async def write(connection: AnyConnection, projection: str, spans: Any, changed: Any, **options: Any) -> None:
            self.sizes.append(len(changed))
            if len(changed) > most_rows:
                await connection.execute("SELECT pg_sleep(60)", timeout=options["seconds"])
            await real(connection, projection, spans, changed, **options)

        monkeypatch.setattr(writing, "write", write)


async def test_a_batch_that_takes_too_long_is_split_and_nothing_is_parked(
    database_dsn: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowWrites(monkeypatch, most_rows=4)
    database = Database(pool_size=2, timeout_seconds=1.5)
    await database.open(database_dsn)
    projector = Projector(make_projection(), database)
    values = [record(position, position, str(position)) for position in range(1, 41)]
    await asyncio.wait_for(projector.apply(batch(*values)), 30)
    assert len(await rows(pool)) == 40
    assert await parked(pool) == []
    assert slow.sizes[:3] == [40, 10, 2]
    assert sum(size > 4 for size in slow.sizes) <= 4
    database.close()


async def test_a_single_event_that_takes_too_long_gets_more_time_and_is_reported(
    database_dsn: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batch_size, "FIRST_LONG_SECONDS", 20.0)
    database = Database(pool_size=2, timeout_seconds=1.5)
    await database.open(database_dsn)
    await pool.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2.5); RETURN NEW; END $$"
    )
    await pool.execute("CREATE TRIGGER slow BEFORE INSERT ON projections FOR EACH ROW EXECUTE FUNCTION slow()")
    projector = Projector(make_projection(), database)
    await asyncio.wait_for(projector.apply(batch(record(7, 7))), 30)
    assert (await rows(pool)) == {"a": ([7], 7, 1)}
    assert await parked(pool) == []
    assert "PostgreSQL took too long for 1 events (positions 7 to 7)" in caplog.text
    database.close()


async def test_rows_that_are_too_large_together_are_read_and_written_in_parts(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_STATE_BYTES", 100_000)
    values = [record(position, position, str(position % 20)) for position in range(1, 41)]
    for first in (0, 20):  # a projector that knows no rows reads them first
        await Projector(wide_projection(30_000), database).apply(batch(*values[: first + 20]))
    found = await pool.fetch("SELECT position FROM projections ORDER BY position")
    assert [row["position"] for row in found] == list(range(21, 41))
    assert await parked(pool) == []
    await Projector(wide_projection(200_000), database).apply(batch(record(41, 1, "1"), record(42, 2, "2")))
    assert await pool.fetchval("SELECT min(length(state->>'text')) FROM projections WHERE position > 40") == 200_000


def test_a_batch_has_few_bytes_and_at_least_one_event() -> None:
    events = [event for n in range(1, 9) if (event := decode(record(n, "x" * 1_500_000), 0)) is not None]
    size = BatchSize()
    assert [len(size.take(events, first)) for first in (0, 2, 6, 7)] == [2, 2, 2, 1]
    size.note_time_out(8)
    assert len(size.take(events[:3], 0)) == 2
    size.note_time_out(2)
    assert len(size.take(events, 0)) == 1
    small = [event for n in range(1, 9) if (event := decode(record(n, n), 0)) is not None]
    assert BatchSize().take(small, 0) is small


async def test_the_rows_that_a_projector_remembers_are_bounded_by_bytes(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_cache, "MAX_BYTES", 2_000_000)
    projector = Projector(wide_projection(50_000), database)
    tracemalloc.start()
    try:
        for first in range(1, 201, 10):
            await projector.apply(batch(*(record(n, n, str(n)) for n in range(first, first + 10))))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert await pool.fetchval("SELECT count(*) FROM projections") == 200
    assert kept < 5_000_000


async def pages_of(connection: AnyConnection, sort: Sort | None, limit: int) -> list[Sequence[str]]:
    found: list[Sequence[str]] = []
    after: Place | None = None
    while True:
        page = await read_page(connection, "numbers", sort=sort, after=after, limit=limit)
        found.append([row.key for row in page.rows])
        if page.end is None:
            return found
        after = page.end


@pytest.mark.parametrize("sort", [None, Sort("n", "number", descending=False), Sort("n", "number", descending=True)])
async def test_a_page_of_wide_rows_ends_early_and_the_next_continues(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, sort: Sort | None
) -> None:
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 100_000)
    await pool.execute(
        "INSERT INTO projections (projection, key, state, position, version) SELECT 'numbers', lpad(n::text, 3, '0'), "
        "jsonb_build_object('text', repeat('x', CASE n WHEN 50 THEN 300000 WHEN 60 THEN 300000 ELSE 20000 END)) "
        "|| CASE WHEN n % 3 = 0 THEN '{}' ELSE jsonb_build_object('n', n) END, n, 1 FROM generate_series(1, 90) AS n"
    )
    async with pool.acquire() as connection:
        few = await pages_of(connection, sort, 1_000)
        one = await pages_of(connection, sort, 1)
        monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 10**9)
        (all_keys,) = await pages_of(connection, sort, 1_000)
    assert len(all_keys) == 90
    assert [key for page in few for key in page] == all_keys
    assert [key for page in one for key in page] == all_keys
    assert max(map(len, few)) == 5
    assert all(few)


async def test_a_page_of_dead_letters_ends_early_and_the_next_continues(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_PAGE_BYTES", 200_000)
    async with pool.acquire() as connection:
        letters = [dead_letters.RefusedMessage(f"t/{n}", b"x" * 60_000, "c", "r", "{}") for n in range(20)]
        await dead_letters.store(connection, letters)
        seen: list[str] = []
        before, more = dead_letters.NEWEST_NUMBER, True
        while more:
            found, more = await dead_letters.newest(connection, before=before, at_most=1_000)
            assert 1 <= len(found) <= 4
            seen += [letter.topic for letter in found]
            before = found[-1].number
    assert seen == [f"t/{n}" for n in reversed(range(20))]
