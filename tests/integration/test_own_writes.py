"""`?source=&id=&wait=`: an answer that rests on an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tables.database import Database, Pool

from tests.support.clients.query_client import Client, refused
from tests.support.data.sums_projection import COUNTS, SUMS, apply, serving_sums, store
from tests.support.waiting import until

ROW = "/api/v1/projections/sums/a"
PAGE = "/api/v1/projections/sums"


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving_sums(database) as opened:
        yield opened


async def last_event(pool: Pool) -> dict[str, str]:
    row = await pool.fetchrow("SELECT source, id FROM event_store ORDER BY position DESC LIMIT 1")
    assert row is not None
    return {"source": row["source"], "id": row["id"]}


@pytest.mark.parametrize("address", [ROW, PAGE])
async def test_what_is_applied_is_answered_at_once(
    client: Client, pool: Pool, database: Database, address: str
) -> None:
    await store(pool, ("a", 1))
    await apply(database)
    for wait in ({}, {"wait": "0"}, {"wait": "10"}, {"wait": "0.25"}):
        response = await client.get(address, params={**await last_event(pool), **wait})
        assert response.status == 200
        assert '"total": 1' in await response.text()


@pytest.mark.parametrize("address", [ROW, PAGE])
async def test_the_answer_waits_until_the_event_is_applied_to_this_projection(
    client: Client, pool: Pool, database: Database, address: str
) -> None:
    await store(pool, ("a", 1))
    asked = asyncio.create_task(client.get(address, params={**await last_event(pool), "wait": "60"}))
    await apply(database, COUNTS)
    await client.get(PAGE)
    assert not asked.done()
    await apply(database, SUMS)
    response = await asked
    assert response.status == 200
    assert '"total": 1' in await response.text()


@pytest.mark.parametrize("address", [ROW, PAGE])
@pytest.mark.parametrize("wait", ["0", "0.2"])
async def test_what_is_not_applied_in_time_is_503_with_retry_after(
    client: Client, pool: Pool, address: str, wait: str
) -> None:
    await store(pool, ("a", 1))
    for event in (await last_event(pool), {"source": "/never", "id": "seen"}, {"source": "é" * 600, "id": "é"}):
        response = await client.get(address, params={**event, "wait": wait})
        await refused(response, 503, "event_not_applied")
        assert int(response.headers["Retry-After"]) > 0


async def test_an_event_that_is_parked_is_told_at_once_and_one_that_was_discarded_is_not_waited_for(
    client: Client, pool: Pool, database: Database
) -> None:
    await store(pool, ("a", 1), ("a", -1))
    await apply(database)
    asked = {**await last_event(pool), "wait": "60"}
    response = await client.get(ROW, params=asked)
    await refused(response, 503, "event_parked")
    assert int(response.headers["Retry-After"]) > 0
    await pool.execute("DELETE FROM parked")
    assert (await client.get(ROW, params=asked)).status == 200


async def test_a_type_that_the_projection_does_not_take_is_waited_for_as_well(
    client: Client, pool: Pool, database: Database
) -> None:
    await store(pool, ("a", 1))
    await apply(database)
    await store(pool, ("a", 1), event_type="another")
    asked = asyncio.create_task(client.get(ROW, params={**await last_event(pool), "wait": "60"}))
    await apply(database)
    assert (await asked).status == 200


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("source=s", "id"),
        ("id=i", "source"),
        ("source=s&id=i&wait=61", "wait"),
        ("source=s&id=i&wait=-1", "wait"),
        ("source=s&id=i&wait=1e1", "wait"),
        ("source=s&id=i&wait=", "wait"),
        ("source=s&id=i&wait=%D9%A2", "wait"),
        ("source=s&id=i&id=j", "id"),
        ("source=s&id=i&waits=1", "waits"),
    ],
)
@pytest.mark.parametrize("address", [ROW, PAGE])
async def test_what_is_not_understood_is_told(client: Client, address: str, query: str, parameter: str) -> None:
    members = await refused(await client.get(f"{address}?{query}"), 400, "invalid_query")
    assert parameter in [error.get("parameter") for error in members["errors"]]


async def test_the_cursor_of_a_page_is_good_without_waiting_again(
    client: Client, pool: Pool, database: Database
) -> None:
    await store(pool, ("a", 1), ("b", 1))
    await apply(database)
    first = await (await client.get(PAGE, params={**await last_event(pool), "limit": "1"})).json()
    second = await (await client.get(PAGE, params={"cursor": first["next_cursor"]})).json()
    assert [item["key"] for item in (*first["items"], *second["items"])] == ["a", "b"]


async def test_when_the_server_stops_nobody_waits_any_more(client: Client) -> None:
    asked = asyncio.create_task(client.get(ROW, params={"source": "s", "id": "i", "wait": "60"}))
    await until(lambda: _is_waiting(client), 20)
    started = asyncio.get_running_loop().time()
    closing = asyncio.create_task(client.server.close())
    assert (await asked).status == 503
    await closing
    assert asyncio.get_running_loop().time() - started < 3


async def _is_waiting(client: Client) -> bool:
    runner = client.server.runner
    return runner is not None and runner.server is not None and bool(runner.server.connections)
