"""Reading `projections`: single rows for many at once, and pages that neither miss nor repeat a row."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.rfc3339 import instant
from tables.database import Pool
from tables.pages import (
    NUMBER_CHARACTERS,
    SORT_TEXT_CHARACTERS,
    Condition,
    Kind,
    Operator,
    Page,
    Place,
    Sort,
    page_statements,
    read_page,
)
from tables.projections import Row, read_rows

MADE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WRITE = """
INSERT INTO projections (projection, key, state, position, version, updated_at)
SELECT $1, row.key, row.state::jsonb, 7, 3, $4 FROM unnest($2::text[], $3::text[]) AS row (key, state)
ON CONFLICT (projection, key) DO UPDATE SET state = excluded.state
"""
LONG = "x" * (SORT_TEXT_CHARACTERS - 1)
KINDS: dict[str, Kind] = {"t": "text", "n": "number", "d": "time"}

keys = st.text(st.sampled_from("aAbB/ %é😀\n"), min_size=1, max_size=3)
times = st.builds(
    lambda second, fraction: f"2026-01-01T00:00:{second:02}{fraction}Z",
    st.integers(0, 2),
    st.sampled_from(["", ".5", ".50", ".123456789", ".1234567891", ".000"]),
)
members: dict[str, st.SearchStrategy[Any]] = {
    "t": st.sampled_from(
        [
            "",
            "a",
            "A",
            "ab",
            "aé",
            "é",
            "😀",
            "\uffff",
            "\U0010ffff",
            'q"\\',
            "z",
            LONG,
            LONG + "1",
            LONG + "12",
            LONG + "13",
        ]
    ),
    "n": st.sampled_from([0, -1, 2, 10, 9, 0.5, 10**29 + 1, 10**29 + 2, -0.25]),
    "d": times,
}
wrong: dict[str, st.SearchStrategy[Any]] = {
    "t": st.nothing(),
    "n": st.sampled_from(["1", True, {"n": 1}]),
    "d": st.sampled_from(["soon", "2026-01-01", 1, "2026-01-01T00:00:00+01:00"]),
}
states = st.fixed_dictionaries({}, optional={m: members[m] | st.none() | wrong[m] for m in members})
tables_of_rows = st.dictionaries(keys, states, max_size=12)
sorts = st.none() | st.builds(
    lambda m, descending: Sort(m, KINDS[m], descending), st.sampled_from("tnd"), st.booleans()
)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    member = draw(st.sampled_from("tnd"))
    operators: list[Operator] = ["eq", "ne", "gt", "gte", "lt", "lte", "in"]
    if member == "t":
        operators.append("prefix")
    operator = draw(st.sampled_from(operators))
    value = members[member].map(lambda value: _as_asked(member, value))
    if operator == "in":
        return Condition(member, KINDS[member], operator, draw(st.lists(value, max_size=3)))
    return Condition(member, KINDS[member], operator, draw(value))


def _as_asked(member: str, value: Any) -> str:
    return instant(value) if member == "d" else value if member == "t" else json.dumps(value)


def comparable(member: str, value: Any) -> Any:
    """What a member is compared by; None where no comparison is true."""
    if member == "t":
        return value
    if member == "n":
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return instant(value) if isinstance(value, str) and value.endswith("Z") else None


def passes(state: dict[str, Any], condition: Condition) -> bool:
    have = comparable(condition.member, state.get(condition.member))
    if have is None:
        return False
    if condition.operator == "in":
        return have in [_asked(condition.member, value) for value in condition.value]
    assert isinstance(condition.value, str)
    want = _asked(condition.member, condition.value)
    return bool(
        {
            "eq": lambda: have == want,
            "ne": lambda: have != want,
            "gt": lambda: have > want,
            "gte": lambda: have >= want,
            "lt": lambda: have < want,
            "lte": lambda: have <= want,
            "prefix": lambda: have.startswith(want),
        }[condition.operator]()
    )


def _asked(member: str, value: str) -> Any:
    return json.loads(value) if member == "n" else value


def in_order(rows: dict[str, dict[str, Any]], sort: Sort | None) -> list[str]:
    ordered = sorted(rows)
    if sort is None:
        return ordered
    values = {key: comparable(sort.member, rows[key].get(sort.member)) for key in ordered}
    present = [key for key in ordered if values[key] is not None]
    present.sort(key=lambda key: (_sorted_by(values[key]), key), reverse=sort.descending)
    return present + [key for key in ordered if values[key] is None]


def _sorted_by(value: Any) -> Any:
    return value[:SORT_TEXT_CHARACTERS] if isinstance(value, str) else value


async def write(pool: Pool, rows: dict[str, dict[str, Any]], projection: str = "things") -> None:
    await pool.execute(WRITE, projection, list(rows), [json.dumps(state) for state in rows.values()], MADE)


async def pages(
    pool: Pool, limit: int, filters: list[Condition], sort: Sort | None, projection: str = "things"
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
    pool: Pool, rows: dict[str, dict[str, Any]], filters: list[Condition], sort: Sort | None, limit: int
) -> None:
    await pool.execute("TRUNCATE projections")
    await write(pool, rows)
    await write(pool, {"a": {"t": "of another projection"}}, projection="others")
    expected = in_order({key: state for key, state in rows.items() if all(passes(state, one) for one in filters)}, sort)
    found: list[Row] = []
    async for page in pages(pool, limit, filters, sort):
        assert len(page.rows) == limit or page.end is None
        found += page.rows
    assert [row.key for row in found] == expected
    assert all(json.loads(bytes(row.state)) == rows[row.key] for row in found)


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
        row[0] for row in await pool.fetch(f"EXPLAIN (ANALYZE, TIMING off) {statement}", "things", 51, *arguments)
    )
    assert "Sort" not in plan
    assert "Index Scan using projections_pkey" in plan
    assert "Rows Removed" not in plan
