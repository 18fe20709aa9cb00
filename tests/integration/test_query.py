"""The query service over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from app.projection import Field, Projection
from tables.database import Database, Pool
from web.query import query_routes
from web.server import make_application

Client = TestClient[web.Request, web.Application]

WRITE = """
INSERT INTO projections (projection, key, state, position, version) VALUES ('things', $1, $2::text::jsonb, $3, 1)
ON CONFLICT (projection, key) DO UPDATE
SET state = excluded.state, position = excluded.position, version = projections.version + 1,
    updated_at = clock_timestamp()
"""
DELETE = "DELETE FROM projections WHERE projection = 'things' AND key = $1"


class Thing(msgspec.Struct):
    color: str
    weight: int


THINGS: Projection[Any] = Projection(
    "things",
    state=Thing,
    key=lambda event: event.source,
    description="Things of all kinds.",
    fields={"color": Field("text"), "weight": Field("number")},
)
BARE: Projection[Any] = Projection("bare", state=Thing, key=lambda event: event.source, description="Not filterable.")


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving(database) as opened:
        yield opened


def serving(database: Database) -> Client:
    return TestClient(TestServer(make_application(query_routes(database, [THINGS, BARE]), max_body_bytes=1000)))


async def write(pool: Pool, key: str, state: str = "{}", position: int = 1) -> None:
    await pool.execute(WRITE, key, state, position)


def path(key: str, projection: str = "things") -> URL:
    """The address of a row, with every character of the key but letters and digits percent-encoded."""
    return raw(f"/api/v1/projections/{projection}/{quote(key, safe='')}")


def raw(address: str) -> URL:
    """An address that goes out as it is written here."""
    return URL(address, encoded=True)


async def refused(response: ClientResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status == status
    assert response.headers["Content-Type"] == "application/problem+json"
    members: dict[str, Any] = json.loads(await response.read())
    assert members["code"] == code
    return members


async def test_a_row_is_answered_with_its_state_as_it_is(client: Client, pool: Pool) -> None:
    digits = "123456789012345678901234567890"
    await write(pool, "dev-1", f'{{"weight": {digits}, "text": "é\\n"}}', position=12)
    response = await client.get(path("dev-1"))
    body = await response.read()
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-cache"
    assert digits.encode() in body
    members = json.loads(body)
    assert list(members) == ["projection", "key", "position", "version", "updated_at", "state"]
    assert members["updated_at"].endswith("Z")
    del members["updated_at"]
    assert members == {
        "projection": "things",
        "key": "dev-1",
        "position": 12,
        "version": 1,
        "state": {"weight": int(digits), "text": "é\n"},
    }


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("dev-1/temp/2026-01-01T00", "dev-1/temp/2026-01-01T00"),
        ("dev-1%2Ftemp%2f2026", "dev-1/temp/2026"),
        ("%25", "%"),
        ("%2525", "%25"),
        ("%252F", "%2F"),
        ("a%3Fb%23c%26d", "a?b#c&d"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("%C3%A9%F0%9F%98%80", "é😀"),
        ("line%0Abreak%0D%09", "line\nbreak\r\t"),
        ("%2F", "/"),
        ("/x", "/x"),
        ("x/", "x/"),
        ("a//b", "a//b"),
        ("%2E%2E%2Fx", "../x"),
        ("%7Bkey%7D", "{key}"),
        ("%64ev", "dev"),
        ("100%", "100%"),
        ("changes", "changes"),
    ],
)
async def test_a_key_is_decoded_once_whatever_its_characters(
    client: Client, pool: Pool, address: str, key: str
) -> None:
    await write(pool, key)
    response = await client.get(raw(f"/api/v1/projections/things/{address}"))
    assert response.status == 200, await response.text()
    assert (await response.json())["key"] == key


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10))
async def test_a_percent_encoded_key_finds_its_row(client: Client, pool: Pool, key: str) -> None:
    await write(pool, key)
    response = await client.get(path(key))
    assert (await response.json())["key"] == key


async def test_a_key_that_is_not_there_and_a_projection_that_is_not_there_are_told_apart(client: Client) -> None:
    await refused(await client.get(path("nobody")), 404, "unknown_key")
    await refused(await client.get(path("a\0b")), 404, "unknown_key")
    for address in ("/api/v1/projections/nothing", "/api/v1/projections/nothing/key"):
        members = await refused(await client.get(address), 404, "unknown_projection")
        assert "things, bare" in members["detail"]


async def test_an_empty_key_is_not_found(client: Client, pool: Pool) -> None:
    await write(pool, "")
    await refused(await client.get("/api/v1/projections/things/"), 404, "not_found")


@pytest.mark.parametrize("address", ["%ff", "a%C3", "%ed%a0%80"])
async def test_a_key_that_is_not_utf8_is_refused(client: Client, address: str) -> None:
    await refused(await client.get(raw(f"/api/v1/projections/things/{address}")), 400, "invalid_utf8")


@pytest.mark.parametrize("address", ["/api/v1/projections/things/k?x=1", "/api/v1/projections?x=1"])
async def test_parameters_where_there_are_none_are_refused(client: Client, pool: Pool, address: str) -> None:
    await write(pool, "k")
    await refused(await client.get(address), 400, "invalid_query")


async def test_the_etag_changes_with_every_change_of_the_row_and_with_no_other(client: Client, pool: Pool) -> None:
    seen: list[str | None] = []
    for change in (
        lambda: write(pool, "k", '{"n": 1}', position=1),
        lambda: write(pool, "k", '{"n": 1}', position=1),
        lambda: write(pool, "k", '{"n": 2}', position=5),
        lambda: pool.execute(DELETE, "k"),
    ):
        await change()
        await write(pool, "other")
        etags = {(await client.get(path("k"))).headers.get("ETag") for _ in range(2)}
        seen += etags
    assert seen.pop() is None
    await write(pool, "k", '{"n": 1}', position=1)
    seen.append((await client.get(path("k"))).headers["ETag"])
    assert len(set(seen)) == 4
    assert all(etag is not None and etag.startswith('"') for etag in seen)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("{etag}", 304),
        ("W/{etag}", 304),
        ('"other", {etag}', 304),
        ('"a,b" ,W/"c",{etag}', 304),
        ("*", 304),
        ('"other"', 200),
        ("", 200),
        ("nonsense", 200),
    ],
)
async def test_a_client_that_has_the_row_as_it_is_gets_304(
    client: Client, pool: Pool, header: str, status: int
) -> None:
    await write(pool, "k")
    etag = (await client.get(path("k"))).headers["ETag"]
    response = await client.get(path("k"), headers={"If-None-Match": header.format(etag=etag)})
    assert response.status == status
    assert response.headers["ETag"] == etag
    assert response.headers["Cache-Control"] == "no-cache"
    assert bool(await response.read()) == (status == 200)


async def test_an_old_etag_gets_the_new_row_and_a_deleted_row_is_404(client: Client, pool: Pool) -> None:
    await write(pool, "k")
    etag = (await client.get(path("k"))).headers["ETag"]
    await write(pool, "k")
    assert (await client.get(path("k"), headers={"If-None-Match": etag})).status == 200
    await pool.execute(DELETE, "k")
    await refused(await client.get(path("k"), headers={"If-None-Match": "*"}), 404, "unknown_key")


async def test_head_answers_as_get_without_a_body(client: Client, pool: Pool) -> None:
    await write(pool, "k")
    for address in (path("k"), URL("/api/v1/projections/things"), URL("/api/v1/projections"), path("nobody")):
        got = await client.get(address)
        head = await client.head(address)
        assert head.status == got.status
        assert await head.read() == b""
        for name in ("Content-Type", "Content-Length", "ETag", "Cache-Control"):
            assert head.headers.get(name) == got.headers.get(name)


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
    assert keys == ["k1", "k3", "k2", "k4"]


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
    assert members["instance"].startswith("urn:uuid:")
    assert "state" not in json.dumps(members)
