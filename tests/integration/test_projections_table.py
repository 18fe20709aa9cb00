"""Reading `projections`: single rows for many at once, and pages that neither miss nor repeat a row."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tables.database import Pool
from tables.projections.pages import (
    MAX_PAGE_BYTES,
    NUMBER_CHARACTERS,
    SORT_TEXT_CHARACTERS,
    FieldCondition,
    Page,
    Place,
    Sort,
    count_rows,
    page_statements,
    read_page,
)
from tables.projections.rows import Row, read_rows

from tests.support.data.naive_pages import (
    MADE,
    conditions,
    in_order,
    keys,
    passing,
    sorts,
    states,
    tables_of_rows,
    write,
)


async def pages(
    pool: Pool, limit: int, filters: list[FieldCondition], sort: Sort | None, projection: str = "things"
) -> AsyncIterator[Page]:
    after: Place | None = None
    while True:
        async with pool.acquire() as connection:
            page = await read_page(connection, projection, conditions=filters, sort=sort, after=after, limit=limit)
        yield page
        if page.end is None:
            return
        after = page.end


every_example_on_one_database = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@every_example_on_one_database
@given(rows=tables_of_rows, filters=st.lists(conditions(), max_size=2), sort=sorts, limit=st.integers(1, 7))
async def test_pages_together_are_the_filtered_and_sorted_rows(
    pool: Pool, rows: dict[str, dict[str, Any]], filters: list[FieldCondition], sort: Sort | None, limit: int
) -> None:
    await pool.execute("TRUNCATE projections")
    await write(pool, rows)
    await write(pool, {"a": {"t": "of another projection"}}, projection="others")
    expected = in_order(passing(rows, filters), sort)
    found: list[Row] = []
    async for page in pages(pool, limit, filters, sort):
        assert len(page.rows) == limit or page.end is None
        found += page.rows
    assert [row.key for row in found] == expected
    assert all(json.loads(bytes(row.state)) == rows[row.key] for row in found)
    async with pool.acquire() as connection:
        assert await count_rows(connection, "things", filters) == len(expected)


@every_example_on_one_database
@given(
    rows=tables_of_rows,
    changes=st.lists(st.tuples(keys, st.none() | states), max_size=8),
    sort=sorts,
    limit=st.integers(1, 4),
)
async def test_rows_that_stay_as_they_are_come_once_while_others_change(
    pool: Pool,
    rows: dict[str, dict[str, Any]],
    changes: list[tuple[str, dict[str, Any] | None]],
    sort: Sort | None,
    limit: int,
) -> None:
    await pool.execute("TRUNCATE projections")
    await write(pool, rows)
    to_do = list(changes)
    done = []
    found: list[str] = []
    async for page in pages(pool, limit, [], sort):
        found += [row.key for row in page.rows]
        if to_do:
            key, state = to_do.pop()
            done.append(key)
            await pool.execute("DELETE FROM projections WHERE key = $1", key)
            if state is not None:
                await write(pool, {key: state})
    unchanged = {key: state for key, state in rows.items() if key not in done}
    assert [key for key in found if key in unchanged] == in_order(unchanged, sort)


async def test_a_row_has_its_columns_and_the_text_of_its_state(pool: Pool) -> None:
    digits = "123456789012345678901234567890.10"
    await pool.execute(
        "INSERT INTO projections VALUES ('things', 'k', $1::text::jsonb, 7, 3, $2)", f'{{"n": {digits}}}', MADE
    )
    async with pool.acquire() as connection:
        (row,) = await read_rows(connection, [("things", "k")])
        page = await read_page(connection, "things", limit=1)
    assert row == Row("things", "k", 7, 3, MADE, msgspec.Raw(f'{{"n": {digits}}}'))
    assert page == Page([row], None)


async def test_rows_come_in_the_order_asked_for_with_none_for_those_that_are_not_there(pool: Pool) -> None:
    await write(pool, {"a": {}, "b": {}, "b ": {}})
    await write(pool, {"a": {}}, projection="others")
    wanted = [("things", "b"), ("things", "x"), ("others", "a"), ("others", "b"), ("things", "b"), ("things", "a")]
    async with pool.acquire() as connection:
        rows = await read_rows(connection, wanted)
    assert [row and (row.projection, row.key) for row in rows] == [
        ("things", "b"),
        None,
        ("others", "a"),
        None,
        ("things", "b"),
        ("things", "a"),
    ]


async def test_long_texts_sort_by_their_beginning_and_long_numbers_come_last_but_none_is_missed(pool: Pool) -> None:
    beginning = "x" * SORT_TEXT_CHARACTERS
    rows: dict[str, dict[str, Any]] = {
        "a": {"t": beginning + "2", "n": int("9" * (NUMBER_CHARACTERS + 1))},
        "b": {"t": beginning + "1", "n": int("9" * NUMBER_CHARACTERS)},
        "c": {"t": "w", "n": 1},
        "d": {"d": f"2026-01-01T00:00:00.{'1' * 5000}Z"},
    }
    await write(pool, rows)
    by_text = [page async for page in pages(pool, 1, [], Sort("t", "text", descending=False))]
    by_number = [page async for page in pages(pool, 1, [], Sort("n", "number", descending=False))]
    by_time = [page async for page in pages(pool, 1, [], Sort("d", "time", descending=True))]
    assert [page.rows[0].key for page in by_text] == ["c", "a", "b", "d"]
    assert [page.rows[0].key for page in by_number] == ["c", "b", "a", "d"]
    assert [page.rows[0].key for page in by_time] == ["d", "a", "b", "c"]
    assert max(len(page.end.sort_value or "") for page in [*by_text, *by_number, *by_time] if page.end) <= 1000


async def test_a_page_by_key_reads_no_more_rows_than_it_answers(pool: Pool) -> None:
    await write(pool, {f"{number:05}": {} for number in range(20_000)})
    await pool.execute("ANALYZE projections")
    statement, arguments = next(page_statements([], None, Place(None, "10000")))
    plan = "\n".join(
        row[0]
        for row in await pool.fetch(
            f"EXPLAIN (ANALYZE, TIMING off) {statement}", "things", 51, MAX_PAGE_BYTES, *arguments
        )
    )
    assert "Sort" not in plan
    assert "Index Scan using projections_pkey" in plan
    assert "Rows Removed" not in plan
