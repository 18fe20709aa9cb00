"""The query service over HTTP: projections, pages, and what holds for every answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from tables.database import Database, Pool

from tests.support.clients.query_client import Client, path, raw, refused, serving, write


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving(database) as opened:
        yield opened


async def test_pages_follow_one_another_by_cursor(client: Client, pool: Pool) -> None:
    for number in range(5):
        await write(pool, f"k{number}", json.dumps({"color": "red" if number % 2 else "blue", "weight": number}))
    keys: list[str] = []
    parameters = {"limit": "2", "sort": "-color", "weight[gte]": "1"}
    while True:
        response = await client.get("/api/v1/projections/things", params=parameters)
        page = await response.json()
        keys += [item["key"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert keys == ["k3", "k1", "k4", "k2"]


async def test_an_item_of_a_page_is_what_its_own_address_answers(client: Client, pool: Pool) -> None:
    await write(pool, "k", '{"color": "red"}')
    page = await (await client.get("/api/v1/projections/things")).json()
    assert page == {"items": [await (await client.get(path("k"))).json()], "next_cursor": None}


async def test_pages_have_at_most_fifty_rows_unless_told_otherwise(client: Client, pool: Pool) -> None:
    for number in range(60):
        await write(pool, f"{number:02}")
    page = await (await client.get("/api/v1/projections/things")).json()
    whole = await (await client.get("/api/v1/projections/things?limit=1000")).json()
    assert (len(page["items"]), len(whole["items"]), whole["next_cursor"]) == (50, 60, None)


@pytest.mark.parametrize(
    ("query", "parameter", "allowed"),
    [
        ("limit=0", "limit", "1 to 1000"),
        ("size=1", "size", "color (text), weight (number)"),
        ("weight=heavy", "weight", "JSON"),
        ("sort=size", "sort", "color, weight"),
        ("cursor=AAAA%3D%3D%3D%3D", "cursor", "next_cursor"),
        ("color=a&color=b", "color", "once"),
        ("color=%00", None, "NUL"),
        ("color=%ff%fe", None, "UTF-8"),
    ],
)
async def test_a_query_that_is_not_understood_is_told_what_is_allowed(
    client: Client, query: str, parameter: str | None, allowed: str
) -> None:
    members = await refused(await client.get(raw(f"/api/v1/projections/things?{query}")), 400, "invalid_query")
    (error,) = members["errors"]
    assert error.get("parameter") == parameter
    assert allowed in error["detail"]


async def test_what_looks_like_sql_is_a_value_like_any_other(client: Client, pool: Pool) -> None:
    value = "' OR 1=1; DROP TABLE projections--"
    await write(pool, "k", json.dumps({"color": value}))
    await write(pool, "l", json.dumps({"color": "red"}))
    page = await (await client.get("/api/v1/projections/things", params={"color": value})).json()
    assert [item["key"] for item in page["items"]] == ["k"]


async def test_every_projection_tells_what_it_is_and_how_far(client: Client) -> None:
    answer = await (await client.get("/api/v1/projections")).json()
    assert answer == {
        "items": [
            {
                "name": "things",
                "description": "Things of all kinds.",
                "fields": {"color": {"kind": "text"}, "weight": {"kind": "number"}},
                "state": "live",
                "position": 0,
                "lag_events": 0,
                "lag_seconds": 0.0,
            },
            {
                "name": "bare",
                "description": "Not filterable.",
                "fields": {},
                "state": "live",
                "position": 0,
                "lag_events": 0,
                "lag_seconds": 0.0,
            },
        ]
    }


@pytest.mark.parametrize(("seconds", "state"), [(30, "live"), (90, "stalled")])
async def test_a_projection_that_has_applied_nothing_for_a_minute_is_stalled(
    client: Client, pool: Pool, seconds: int, state: str
) -> None:
    await pool.execute(
        """
        WITH head AS (UPDATE relay_state SET last_position = 1),
             partitions AS (INSERT INTO topic_partitions VALUES (0, 1))
        INSERT INTO event_store
            (position, id, source, event_type, event_time, received_at, recorded_at, partition, event)
        SELECT 1, 'e', '/tests', 'tested', now(), now(), clock_timestamp() - $1::float8 * interval '1 second', 0, '{}'
        """,
        seconds,
    )
    await pool.execute("INSERT INTO progress (projection, partition, position) VALUES ('bare', 0, 1)")
    things, bare = (await (await client.get("/api/v1/projections")).json())["items"]
    assert (things["state"], things["position"], things["lag_events"]) == (state, 0, 1)
    assert things["lag_seconds"] == pytest.approx(seconds, abs=20)
    assert (bare["state"], bare["position"], bare["lag_events"], bare["lag_seconds"]) == ("live", 1, 0, 0)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_the_query_port_takes_no_writes(client: Client, method: str) -> None:
    for address in (URL("/api/v1/projections"), URL("/api/v1/projections/things"), path("k")):
        response = await client.request(method, address)
        await refused(response, 405, "method_not_allowed")
        assert response.headers["Allow"] == "GET,HEAD"


async def test_every_answer_has_the_common_headers(client: Client, pool: Pool) -> None:
    await write(pool, "k")
    for address in (path("k"), URL("/api/v1/projections"), URL("/nowhere"), URL("/api/v1/projections/things?x=1")):
        response = await client.get(address)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == ("no-cache" if response.headers.get("ETag") else "no-store")
        assert "Server" not in response.headers


async def test_while_postgresql_is_away_every_request_is_503_with_retry_after() -> None:
    async with serving(Database(pool_size=2, timeout_seconds=1)) as client:
        for address in ("/api/v1/projections", "/api/v1/projections/things", "/api/v1/projections/things/k"):
            response = await client.get(address)
            await refused(response, 503, "database_away")
            assert int(response.headers["Retry-After"]) > 0


async def test_an_error_nobody_foresaw_is_500_and_tells_nothing(client: Client, pool: Pool) -> None:
    await pool.execute("ALTER TABLE projections RENAME COLUMN state TO secret_state")
    response = await client.get(path("k"))
    members = await refused(response, 500, "internal_error")
    assert members["instance"] == f"urn:headrace:request:{response.headers['X-Request-Id']}"
    assert "state" not in json.dumps(members)


async def test_head_answers_as_get_without_a_body(client: Client, pool: Pool) -> None:
    await write(pool, "k")
    for address in (path("k"), URL("/api/v1/projections/things"), URL("/api/v1/projections"), path("nobody")):
        got = await client.get(address)
        head = await client.head(address)
        assert head.status == got.status
        assert await head.read() == b""
        for name in ("Content-Type", "Content-Length", "ETag", "Cache-Control"):
            assert head.headers.get(name) == got.headers.get(name)
