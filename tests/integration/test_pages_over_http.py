"""Pages over HTTP, whatever is asked: filters equal a filter in Python, and no page misses or repeats a row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.projection import Field, Projection
from tables.database import Database, Pool
from tables.projections.pages import FieldCondition, Sort

from tests.support.clients.query_client import Client, serving
from tests.support.data.naive_pages import (
    KINDS,
    conditions,
    in_order,
    keys,
    name_of,
    passing,
    sorts,
    states,
    tables_of_rows,
    write,
)

PATH = "/api/v1/projections/things"
every_example_on_one_server = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
filters_that_can_be_asked = st.lists(
    conditions().filter(lambda one: one.value != []), max_size=2, unique_by=lambda one: (one.member, one.operator)
)


class Asked(NamedTuple):
    """What pages are asked for."""

    filters: list[FieldCondition]
    sort: Sort | None
    limit: int

    @property
    def parameters(self) -> dict[str, str]:
        asked = {"limit": str(self.limit)}
        if self.sort is not None:
            asked["sort"] = ("-" if self.sort.descending else "") + name_of(self.sort.member)
        for one in self.filters:
            name = name_of(one.member) if one.operator == "eq" else f"{name_of(one.member)}[{one.operator}]"
            values = [one.value] if isinstance(one.value, str) else one.value
            asked[name] = ",".join(value + ("Z" if one.kind == "time" else "") for value in values)
        return asked


class Inner(msgspec.Struct):
    v: float


class Thing(msgspec.Struct):
    t: str
    n: float
    d: str
    a: str
    b: bool
    m: Inner


THINGS: Projection[Any] = Projection(
    "things",
    state=Thing,
    key=lambda event: event.source,
    description="With a field of each kind.",
    fields={name: Field(kind) for name, kind in KINDS.items()},
)


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving(database, [THINGS]) as opened:
        yield opened


async def pages(client: Client, asked: Asked) -> AsyncIterator[list[Any]]:
    cursor: dict[str, str] = {}
    while True:
        response = await client.get(PATH, params={**asked.parameters, **cursor})
        page = await response.json()
        assert response.status == 200, page
        yield page["items"]
        if page["next_cursor"] is None:
            return
        assert len(page["items"]) == asked.limit
        cursor = {"cursor": page["next_cursor"]}


@every_example_on_one_server
@given(rows=tables_of_rows, asked=st.builds(Asked, filters_that_can_be_asked, sorts, st.integers(1, 7)))
async def test_filters_and_sorts_equal_those_of_python(
    client: Client, pool: Pool, rows: dict[str, dict[str, Any]], asked: Asked
) -> None:
    await pool.execute("TRUNCATE projections")
    await write(pool, rows)
    items = [item async for page in pages(client, asked) for item in page]
    found = {item["key"]: item["state"] for item in items}
    expected = passing(rows, asked.filters)
    assert [item["key"] for item in items] == in_order(expected, asked.sort)
    assert found == expected
    counted = await (await client.get(PATH, params={**asked.parameters, "total": "true"})).json()
    assert counted["total"] == len(expected)


@every_example_on_one_server
@given(
    rows=tables_of_rows,
    changes=st.lists(st.tuples(keys, st.none() | states), max_size=8),
    asked=st.builds(Asked, st.just([]), sorts, st.integers(1, 4)),
)
async def test_pages_neither_miss_nor_repeat_a_row_while_rows_change(
    client: Client,
    pool: Pool,
    rows: dict[str, dict[str, Any]],
    changes: list[tuple[str, dict[str, Any] | None]],
    asked: Asked,
) -> None:
    await pool.execute("TRUNCATE projections")
    await write(pool, rows)
    to_do, changed, found = list(changes), set(), []
    async for page in pages(client, asked):
        found += [item["key"] for item in page]
        if to_do:
            key, state = to_do.pop()
            changed.add(key)
            await pool.execute("DELETE FROM projections WHERE key = $1", key)
            if state is not None:
                await write(pool, {key: state})
    unchanged = {key: state for key, state in rows.items() if key not in changed}
    assert [key for key in found if key in unchanged] == in_order(unchanged, asked.sort)
