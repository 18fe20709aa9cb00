"""Indexes on declared fields: made and dropped beside writers, and used by filters and sorts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from agents.upkeep.field_indexes import FieldIndexes
from headrace.projection import Field, Projection
from tables.database import Connection, Database, Pool
from tables.lock_keys import LockKey
from tables.projections import field_indexes
from tables.projections.field_indexes import CREATE, IndexedField
from tables.projections.pages import (
    MAX_PAGE_BYTES,
    FieldCondition,
    Kind,
    Operator,
    Place,
    Sort,
    page_statements,
    read_page,
)

from tests.support.waiting import until

COLOR = IndexedField("things", "color", "text")
WEIGHT = IndexedField("things", "weight", "number")
MADE = IndexedField("things", "made", "time")
DAY = IndexedField("things", "day", "date")
IS_ON = IndexedField("things", "is_on", "boolean")
WIDTH = IndexedField("things", ("size", "width"), "number")
KINDS: dict[str, Kind] = {"color": "text", "weight": "number", "made": "time", "day": "date", "is_on": "boolean"}
ROWS = 100_000
FILL = """
INSERT INTO projections (projection, key, state, position, version)
SELECT projection, 'k' || n, jsonb_build_object(
    'color', 'color ' || n % 1000, 'weight', n % 5000, 'size', jsonb_build_object('width', n % 5000),
    'day', (date '1900-01-01' + n % 50000)::text, 'is_on', n % 1000 = 7,
    'made', to_char(timestamp '2026-01-01' + n * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
), n, 1
FROM unnest(ARRAY['things', 'others']) AS projection, generate_series(1, $1::integer) AS n
"""
NAMES = "SELECT relname::text AS name FROM pg_class WHERE starts_with(relname::text, 'projections_by_field_')"


async def index_names(pool: Pool) -> set[str]:
    return {row["name"] for row in await pool.fetch(NAMES)}


async def test_declared_indexes_are_made_once_and_dropped_when_they_are_not_declared_any_more(
    connection: Connection, pool: Pool
) -> None:
    assert await field_indexes.sync(connection, [COLOR, WEIGHT]) == ([COLOR, WEIGHT], [])
    assert await field_indexes.sync(connection, [COLOR, WEIGHT]) == ([], [])
    assert await field_indexes.sync(connection, [WEIGHT, MADE]) == ([MADE], [COLOR.name])
    assert await index_names(pool) == {WEIGHT.name, MADE.name}


def test_an_index_has_another_name_only_if_its_expression_is_another() -> None:
    assert COLOR.name == "projections_by_field_8de62885e0e692e8"
    assert WEIGHT.name == "projections_by_field_282eee2097b1c0b1"
    assert MADE.name != "projections_by_field_3e4c004785b53212"


async def test_an_index_on_times_takes_any_text(connection: Connection, pool: Pool) -> None:
    """It is built on what is there, and written beside it; what is no time is not found by it."""
    made = ["2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00", "soon", "2026-02-30T00:00:00+01:00", "", 5, None]
    for moment in ("before", "after"):
        for number, value in enumerate(made):
            state = json.dumps({"made": value})
            key = f"{moment} {number}"
            await pool.execute("INSERT INTO projections VALUES ('things', $1, $2::text::jsonb, 1, 1)", key, state)
        await field_indexes.sync(connection, [MADE])
    found = await read_page(connection, "things", conditions=filters("made", "eq", "2026-01-01T00:00:00"), limit=9)
    assert [row.key for row in found.rows] == ["after 0", "before 0"]
    ordered = await read_page(connection, "things", sort=Sort("made", "time", descending=False), limit=99)
    assert len(ordered.rows) == 2 * len(made)


async def test_names_with_quotes_are_names_like_any_other(connection: Connection, pool: Pool) -> None:
    field = IndexedField('it\'s "so" \\ %s {x}', "mem'ber\\", "text")
    await field_indexes.sync(connection, [field])
    state = json.dumps({"mem'ber\\": "red"})
    await pool.execute("INSERT INTO projections VALUES ($1, 'k', $2::text::jsonb, 1, 1)", field.projection, state)
    found = await read_page(
        connection, field.projection, conditions=[FieldCondition(field.member, "text", "eq", "red")], limit=1
    )
    assert [row.key for row in found.rows] == ["k"]


async def test_while_one_worker_makes_indexes_another_does_nothing(connection: Connection, pool: Pool) -> None:
    async with pool.acquire() as other:
        await other.execute(f"SELECT pg_advisory_lock({LockKey.FIELD_INDEXES})")
        assert await field_indexes.sync(connection, [COLOR]) is None
        await other.execute(f"SELECT pg_advisory_unlock({LockKey.FIELD_INDEXES})")
    assert await index_names(pool) == set()


async def test_an_index_that_was_not_finished_is_made_anew(connection: Connection, pool: Pool) -> None:
    await field_indexes.sync(connection, [COLOR])
    async with pool.acquire() as writer, writer.transaction():
        await writer.execute("INSERT INTO projections VALUES ('things', 'open', '{}', 1, 1)")
        create = CREATE.format(name=WEIGHT.name, sorted_by="version", projection="'things'")
        making = asyncio.create_task(connection.execute(create))
        await until(lambda: _are(pool, {COLOR.name, WEIGHT.name}), 20)
        making.cancel()
        await asyncio.wait([making])
        # Comes after the cancellation: without it the build could end well when the transaction does.
        await connection.fetchval("SELECT 1")
    assert await field_indexes.sync(connection, [COLOR, WEIGHT]) == ([WEIGHT], [WEIGHT.name])


async def test_writers_go_on_while_an_index_is_made(connection: Connection, pool: Pool) -> None:
    """An open transaction holds the build up until it ends; others write and commit meanwhile."""
    async with pool.acquire() as writer, pool.acquire() as other:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("INSERT INTO projections VALUES ('things', 'open', '{}', 1, 1)")
        making = asyncio.create_task(field_indexes.sync(connection, [COLOR]))
        await until(lambda: _is_building(other), 20)
        await other.execute("INSERT INTO projections VALUES ('things', 'beside', '{\"color\": \"red\"}', 1, 1)")
        await other.execute("UPDATE projections SET version = 2 WHERE key = 'beside'")
        assert not making.done()
        await transaction.commit()
        assert await making == ([COLOR], [])


async def _is_building(connection: Any) -> bool:
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_stat_progress_create_index)")
    return found


async def test_a_row_that_does_not_fit_leaves_no_index_behind(
    database: Database, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    key = "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 80) AS n"
    await pool.execute(
        f"""INSERT INTO projections (projection, key, state, position, version)
        SELECT 'things', ({key}), jsonb_build_object('color', ({key.replace("1, 80", "90, 170")})), 1, 1"""
    )
    service = FieldIndexes(database, [things()])
    await service.start()
    await until(lambda: _logged(caplog, "cannot be created"), 20)
    await service.stop()
    assert await index_names(pool) == set()


async def test_a_worker_makes_the_indexes_that_its_projections_declare(database: Database, pool: Pool) -> None:
    for _ in range(2):
        service = FieldIndexes(database, [things()])
        await service.start()
        await until(lambda: _are(pool, {COLOR.name}), 20)
        await service.stop()
        await service.stop()


async def _are(pool: Pool, names: set[str]) -> bool:
    return await index_names(pool) == names


async def _logged(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


def things() -> Projection[Any]:
    class Thing(msgspec.Struct):
        color: str
        weight: int

    fields = {"color": Field("text", indexed=True), "weight": Field("number")}
    return Projection("things", state=Thing, key=lambda event: event.source, description="Things.", fields=fields)


@pytest.fixture
async def filled(connection: Connection, pool: Pool) -> Pool:
    await pool.execute(FILL, ROWS, timeout=120)
    await field_indexes.sync(connection, [COLOR, WEIGHT, MADE, DAY, IS_ON, WIDTH])
    await pool.execute("VACUUM ANALYZE projections", timeout=120)
    return pool


def filters(member: str, operator: Operator, value: str | list[str]) -> list[FieldCondition]:
    return [FieldCondition(member, KINDS[member], operator, value)]


async def test_with_100_000_rows_every_filter_and_sort_on_a_declared_field_uses_its_index(filled: Pool) -> None:
    """Also in the plans that PostgreSQL keeps for statements that come again and again."""
    asked: list[tuple[list[FieldCondition], Sort | None, Place | None, IndexedField]] = [
        (filters("color", "eq", "color 7"), None, None, COLOR),
        (filters("color", "in", ["color 7", "color 8"]), None, None, COLOR),
        (filters("color", "prefix", "color 997"), None, None, COLOR),
        (filters("color", "gt", "color 998"), None, None, COLOR),
        (filters("weight", "eq", "7"), None, None, WEIGHT),
        (filters("weight", "lt", "3"), None, None, WEIGHT),
        (filters("made", "gte", "2026-01-02T03:46:00"), None, None, MADE),
        (filters("day", "lt", "1900-01-03"), None, None, DAY),
        (filters("is_on", "eq", "true"), None, None, IS_ON),
        ([FieldCondition(("size", "width"), "number", "lt", "3")], None, None, WIDTH),
        ([], Sort(("size", "width"), "number", descending=True), Place("2500", "k2500"), WIDTH),
        ([], Sort("day", "date", descending=False), None, DAY),
        ([], Sort("weight", "number", descending=False), None, WEIGHT),
        ([], Sort("weight", "number", descending=True), None, WEIGHT),
        ([], Sort("color", "text", descending=False), Place("color 500", "k500"), COLOR),
        ([], Sort("made", "time", descending=True), Place("2026-01-01T12:00:00", "k43200"), MADE),
    ]
    async with filled.acquire() as connection:
        for conditions, sort, after, field in asked:
            for _ in range(7):
                page = await read_page(connection, "things", conditions=conditions, sort=sort, after=after, limit=50)
            assert page.rows
            for statement, arguments in page_statements(conditions, sort, after):
                plan = await explained(connection, statement, arguments)
                assert field.name in plan, (conditions, sort, plan)
                assert "Seq Scan" not in plan


async def test_a_page_in_the_middle_of_a_sort_reads_no_more_rows_than_it_answers(filled: Pool) -> None:
    for descending in (False, True):
        statement, arguments = next(
            page_statements([], Sort("weight", "number", descending=descending), Place("2500", "k52500"))
        )
        async with filled.acquire() as connection:
            plan = await explained(connection, statement, arguments, "ANALYZE, TIMING off, ")
        assert "Sort" not in plan
        assert "Rows Removed" not in plan


async def explained(connection: Any, statement: str, arguments: list[Any], options: str = "") -> str:
    rows = await connection.fetch(f"EXPLAIN ({options}COSTS off) {statement}", "things", 51, MAX_PAGE_BYTES, *arguments)
    return "\n".join(row[0] for row in rows)
