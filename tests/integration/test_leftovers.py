"""Projections that were removed or renamed are named, and can be removed from the database beside everything else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from agents.projector.projector import Projector
from agents.upkeep.leftovers import Leftovers
from tables.database import Connection, Database, Pool
from tables.projections import leftovers
from tables.projections.leftovers import Forgotten, Leftover
from tables.projections.writing import start_progress

from tests.support.data.numbers_projection import batch, make_projection, record, rows
from tests.support.waiting import until

TABLES = ("projections", "progress", "parked", "discarded", "unparked")
STORE = """
INSERT INTO event_store (position, id, source, event_type, subject, event_time, received_at, partition, event)
VALUES ($1::bigint, $1::bigint::text, '/tests', 'numbered', 'a', now(), now(), 0, $2::text::jsonb)
"""


async def leave(pool: Pool, projection: str, number: int = 5) -> None:
    """Leave rows, of which one has an empty key, parked and discarded events, and progress."""
    await pool.execute(
        "INSERT INTO projections (projection, key, state, position, version) "
        "SELECT $1, CASE WHEN n > 1 THEN 'k' || n ELSE '' END, '{}', n, 1 FROM generate_series(1, $2::integer) AS n",
        projection,
        number,
    )
    for table, columns, values in (
        ("parked", "key, key_is_known, error, attempts", "'k', true, 'e', 1"),
        ("discarded", "key, key_is_known, error, reason, discarded_by, parked_at", "'k', true, 'e', 'r', 'b', now()"),
        ("unparked", "", ""),
    ):
        named = f"projection, position{', ' if columns else ''}{columns}"
        given = f"$1, n{', ' if values else ''}{values}"
        await pool.execute(
            f"INSERT INTO {table} ({named}) SELECT {given} FROM generate_series(1, $2::integer) AS n",
            projection,
            number + (1 if table == "parked" else 2),
        )
    await pool.execute("INSERT INTO progress SELECT $1, n, 9 FROM generate_series(0, 2) AS n", projection)


async def left_in(pool: Pool, projection: str) -> dict[str, int]:
    return {
        table: await pool.fetchval(f"SELECT count(*) FROM {table} WHERE projection = $1", projection)
        for table in TABLES
    }


async def test_what_the_code_does_not_have_is_named_with_its_counts(connection: Connection, pool: Pool) -> None:
    assert await leftovers.leftovers(connection, []) == []
    for name in ("b old", "kept", "a'"):
        await leave(pool, name)
    await pool.execute("INSERT INTO progress VALUES ('only progress', 0, 1)")
    await pool.execute("INSERT INTO unparked (projection, position) VALUES ('only unparked', 1)")
    found = await leftovers.leftovers(connection, ["kept", "new"])
    assert found == [
        Leftover("a'", 5, 6, 7),
        Leftover("b old", 5, 6, 7),
        Leftover("only progress", 0, 0, 0),
        Leftover("only unparked", 0, 0, 0),
    ]
    assert str(found[1]) == "b old (5 rows, 6 parked events, 7 discarded events)"
    assert len(await leftovers.leftovers(connection, [])) == 5


@pytest.mark.parametrize("at_once", [1, 2, 1_000])
async def test_a_projection_is_forgotten_in_small_parts_and_no_other(
    connection: Connection, pool: Pool, at_once: int
) -> None:
    await leave(pool, "old")
    await leave(pool, "older")
    before = await left_in(pool, "older")
    assert await leftovers.forget(connection, "old", rows_at_once=at_once) == Forgotten("old", 5, 6, 7, 3)
    assert set((await left_in(pool, "old")).values()) == {0}
    assert await left_in(pool, "older") == before
    assert not await leftovers.is_begun(connection, "old")


async def test_an_interrupted_removal_is_named_and_keeps_the_projection_from_starting(
    connection: Connection, database: Database, pool: Pool
) -> None:
    """With rows and without progress, its events would be counted twice."""
    for position in (1, 2):
        await pool.execute(STORE, position, record(position, position).decode())
    projector = Projector(make_projection(), database)
    await projector.apply(batch(record(1, 1), record(2, 2)))
    await pool.execute(leftovers.BEGIN, "numbers")
    await pool.execute("DELETE FROM progress")
    assert [one.projection for one in await leftovers.leftovers(connection, [])] == ["numbers"]
    with pytest.raises(asyncpg.LockNotAvailableError, match="run faust -A app forget numbers to finish it"):
        await start_progress(connection, "numbers", 0)
    old, new = (asyncio.create_task(one.apply(batch(record(2, 2)))) for one in (projector, fresh(database)))
    await asyncio.sleep(0)
    assert await leftovers.forget(connection, "numbers") == Forgotten("numbers", 1, 0, 0, 0)
    await asyncio.wait_for(asyncio.gather(old, new), 20)
    assert (await rows(pool))["a"][:2] == ([1, 2], 2)


async def test_progress_is_inserted_under_any_search_path(connection: Connection) -> None:
    schema = await connection.fetchval("SELECT current_schema()")
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = pg_catalog")
        await connection.execute(f"INSERT INTO \"{schema}\".progress VALUES ('p', 0, 1)")


def fresh(database: Database) -> Projector[Any]:
    return Projector(make_projection(), database)


async def test_a_running_projector_of_an_older_version_leaves_no_wrong_row(
    connection: Connection, database: Database, pool: Pool
) -> None:
    projector = Projector(make_projection(), database)
    for position in range(1, 41):
        await pool.execute(STORE, position, record(position, position).decode())

    async def apply_all() -> None:
        for position in range(1, 41):
            await projector.apply(batch(record(position, position)))

    applying = asyncio.create_task(apply_all())
    for _ in range(5):
        await leftovers.forget(connection, "numbers", rows_at_once=1)
    await asyncio.wait_for(applying, 60)
    found = await rows(pool)
    assert found["a"][0] == list(range(1, 41))


async def test_a_worker_names_each_once_and_counts_them_for_the_metric(
    database: Database, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await leave(pool, "old_name")
    await leave(pool, "kept")
    service = Leftovers(database, ["kept", "new_name"], interval_seconds=0.05)
    await service.start()
    try:
        await until(lambda: _has(service, 2), 20)
        await pool.execute("INSERT INTO progress VALUES ('other', 0, 1)")
        await until(lambda: _has(service, 4), 20)
    finally:
        await service.stop()
    lines = [one.getMessage() for one in caplog.records if "removed or renamed" in one.getMessage()]
    assert len(lines) == 2
    assert "old_name (5 rows, 6 parked events, 7 discarded events). faust -A app forget removes" in lines[0]
    assert "old_name" not in lines[1]
    samples = {(one.family.name, one.labels): one.value for one in service.samples()}
    assert samples["headrace_leftover_rows", ("old_name",)] == 5
    assert samples["headrace_leftover_parked_events", ("old_name",)] == 6
    assert not any("kept" in labels for _, labels in samples)


async def _has(service: Leftovers, samples: int) -> bool:
    return len(list(service.samples())) == samples


async def test_a_page_of_names_is_found_without_reading_all_rows(connection: Connection, pool: Pool) -> None:
    await leave(pool, "old", 20_000)
    await leave(pool, "kept", 20_000)
    await pool.execute("VACUUM ANALYZE projections")
    plan = json.loads(await pool.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {leftovers.NAMES}", ["kept"]))
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 200
