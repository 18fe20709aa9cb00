"""Parked events over HTTP: pages of what waits, one event, retry and discard, and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agents.parked.retrier import Retrier
from agents.projector.projector import Projector
from tables.database import Connection, Database, Pool
from web.ingestion.event_status import EventStories
from web.query.parked import parked_routes
from web.server.server import make_application

from tests.support.clients.query_client import raw, refused
from tests.support.data.numbers_projection import make_projection, parked, rows
from tests.support.data.stored_numbers import apply, store

PATH = "/api/v1/parked"
NAMES = ["numbers", "others"]


@pytest.fixture
async def client(database: Database) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    fixed = Retrier([make_projection(name, refuses_negative=False) for name in NAMES], database)
    routes = [*parked_routes(database, NAMES, fixed), *EventStories(database, NAMES).routes()]
    async with TestClient(TestServer(make_application(routes, max_body_bytes=10_000))) as opened:
        yield opened


@pytest.fixture
async def waiting(database: Database, connection: Connection) -> None:
    """Parked in both: a at 1, 2; b at 3; "ü/ü" at 5."""
    stored = await store(connection, [("a", -1), ("a", 2), ("b", -3), ("c", 4), ("ü/ü", -5)])
    for name in NAMES:
        await apply(Projector(make_projection(name), database), stored)


Client = TestClient[web.Request, web.Application]


async def get(client: Client, query: str = "") -> dict[str, Any]:
    response = await client.get(raw(PATH + query))
    assert response.status == 200, await response.text()
    found: dict[str, Any] = await response.json()
    return found


def places(answer: dict[str, Any]) -> list[tuple[str, str, int, int]]:
    return [(one["projection"], one["key"], one["position"], one["waiting_behind"]) for one in answer["items"]]


@pytest.mark.usefixtures("waiting")
async def test_the_first_event_of_each_key_is_listed(client: Client) -> None:
    answer = await get(client)
    assert places(answer) == [(name, *one) for name in NAMES for one in (("a", 1, 1), ("b", 3, 0), ("ü/ü", 5, 0))]
    assert answer["next_cursor"] is None
    first = answer["items"][0]
    assert (first["error"], first["type"], first["source"], first["id"]) == (
        "ValueError: negative",
        "numbered",
        "/tests",
        "1",
    )
    assert first["attempts"] > 0
    assert first["key_is_known"] is True
    assert first["parked_at"].endswith("Z")


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("limit", [1, 2, 5, 6])
async def test_pages_together_are_the_list(client: Client, limit: int) -> None:
    found: list[tuple[str, str, int, int]] = []
    query = f"?limit={limit}"
    while True:
        answer = await get(client, query)
        found += places(answer)
        if answer["next_cursor"] is None:
            break
        assert len(answer["items"]) == limit
        query = f"?limit={limit}&cursor={answer['next_cursor']}"
    assert found == places(await get(client))


@pytest.mark.usefixtures("waiting")
async def test_the_list_is_filtered_by_projection_and_key(client: Client) -> None:
    assert places(await get(client, "?projection=others&key=%C3%BC%2F%C3%BC")) == [("others", "ü/ü", 5, 0)]
    assert places(await get(client, "?key=b")) == [(name, "b", 3, 0) for name in NAMES]
    assert places(await get(client, "?projection=none")) == []


@pytest.mark.usefixtures("waiting")
async def test_a_cursor_of_another_query_is_refused(client: Client) -> None:
    cursor = (await get(client, "?limit=1"))["next_cursor"]
    for query in (f"?projection=numbers&cursor={cursor}", "?cursor=abc", f"?limit=0&cursor={cursor}", "?position=1"):
        await refused(await client.get(raw(PATH + query)), 400, "invalid_query")


@pytest.mark.usefixtures("waiting")
async def test_one_event_is_shown_with_its_envelope(client: Client) -> None:
    response = await client.get(f"{PATH}/numbers/2")
    shown = json.loads(await response.read())
    assert response.status == 200
    assert (shown["key"], shown["first_position"], shown["attempts"]) == ("a", 1, 0)
    assert shown["event"]["data"] == {"number": 2}
    for where in ("numbers/4", "numbers/99999999999999999", "none/1"):
        await refused(await client.get(f"{PATH}/{where}"), 404, "not_parked")


@pytest.mark.usefixtures("waiting")
async def test_a_key_and_then_the_rest_are_retried(client: Client, pool: Pool) -> None:
    response = await client.post(f"{PATH}/numbers/retry", json={"key": "a"})
    assert (response.status, await response.json()) == (
        200,
        {"projection": "numbers", "discarded": 0, "applied": 2, "still_parked": 0, "failures": []},
    )
    response = await client.post(f"{PATH}/numbers/retry", json={"all": True})
    assert (await response.json())["applied"] == 2
    assert {key: numbers for key, (numbers, _, _) in (await rows(pool)).items()} == {
        "a": [-1, 2],
        "b": [-3],
        "c": [4],
        "ü/ü": [-5],
    }
    assert len(await parked(pool)) == 4, "the other projection is another matter"


@pytest.mark.usefixtures("waiting")
async def test_an_event_is_discarded_with_a_reason_and_its_story_tells_it(client: Client, pool: Pool) -> None:
    body = {"position": 1, "reason": "sent by mistake"}
    response = await client.post(f"{PATH}/numbers/discard", json=body)
    assert (response.status, await response.json()) == (
        200,
        {"projection": "numbers", "discarded": 1, "applied": 1, "still_parked": 0, "failures": []},
    )
    assert (await rows(pool))["a"][0] == [2]
    story = await (await client.get("/api/v1/events/status", params={"source": "/tests", "id": "1"})).json()
    assert story["projections"] == {"numbers": "discarded", "others": "parked"}
    assert await pool.fetchval("SELECT reason FROM discarded") == "sent by mistake"
    assert "127.0.0.1" in await pool.fetchval("SELECT discarded_by FROM discarded")


@pytest.mark.usefixtures("waiting")
async def test_only_the_first_event_of_a_key_can_be_discarded(client: Client, pool: Pool) -> None:
    response = await client.post(f"{PATH}/numbers/discard", json={"position": 2, "reason": "wrong"})
    problem = await refused(response, 409, "not_first")
    assert "position 1" in problem["detail"]
    assert await pool.fetchval("SELECT count(*) FROM discarded") == 0


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("retry", b"{}"),
        ("retry", b"no json"),
        ("retry", b'{"key": "a", "all": true}'),
        ("retry", b'{"key": 1}'),
        ("retry", b'{"key": "\\u0000"}'),
        ("retry", b'{"keys": "a"}'),
        ("discard", b'{"key": "a"}'),
        ("discard", b'{"key": "a", "reason": " "}'),
        ("discard", b'{"key": "a", "reason": "\\u0000"}'),
        ("discard", b'{"reason": "why"}'),
        ("discard", b'{"position": 0, "reason": "why"}'),
        ("discard", b'{"position": 1000000000000000000000, "reason": "why"}'),
        ("discard", b'{"position": 1, "key": "a", "reason": "why"}'),
    ],
)
async def test_a_body_that_is_none_is_refused(client: Client, action: str, body: bytes) -> None:
    response = await client.post(f"{PATH}/numbers/{action}", data=body, headers={"Content-Type": "application/json"})
    await refused(response, 400, "invalid_body")


@pytest.mark.parametrize("action", ["retry", "discard"])
async def test_what_a_page_elsewhere_could_make_a_browser_send_is_refused(client: Client, action: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        body = b'{"key": "a", "reason": "why"}'
        response = await client.post(f"{PATH}/numbers/{action}", data=body, headers={"Content-Type": kind})
        await refused(response, 415, "unsupported_media_type")


async def test_what_is_not_parked_is_not_found(client: Client) -> None:
    response = await client.post(f"{PATH}/numbers/retry", json={"key": "a"})
    await refused(response, 404, "not_parked")
    response = await client.post(f"{PATH}/numbers/discard", json={"partition_key": "a", "reason": "why"})
    await refused(response, 404, "not_parked")
    response = await client.post(f"{PATH}/none/retry", json={"all": True})
    await refused(response, 404, "unknown_projection")
    response = await client.post(f"{PATH}/numbers/retry", json={"all": True})
    assert (response.status, (await response.json())["applied"]) == (200, 0)
