"""A request on a hot path is answered as it would be on the ordinary one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from web.server.hot_paths import HotPath
from web.server.problems import Problem
from web.server.request_times import RequestTimes
from web.server.server import make_application

from tests.support.doors.hot_server import HotServer

Client = TestClient[web.Request, web.Application]
CLOCK = "Date"
ID = {"X-Request-Id": "the-same"}


async def answer(request: web.Request) -> web.Response:
    return web.Response(text=await request.text() + " " + request.match_info["place"])


async def fail(_: web.Request) -> web.Response:
    raise RuntimeError("planted")


async def refuse(_: web.Request) -> web.Response:
    raise Problem(429, "planted", "Planted", "Try again later.", headers={"Retry-After": "7"})


@pytest.fixture
def times() -> RequestTimes:
    return RequestTimes("test")


@pytest.fixture
async def client(times: RequestTimes) -> AsyncIterator[Client]:
    routes = [web.post("/{place}/hot", answer), web.get("/{place}/broken", fail), web.get("/{place}/refused", refuse)]

    async def hot(request: web.Request) -> web.Response:
        return web.Response(text=await request.text() + " hot")

    paths = [
        HotPath("POST", "/a/hot", "/a/hot".__eq__, hot),
        HotPath("GET", "/a/broken", "/a/broken".__eq__, fail),
        HotPath("GET", "/a/refused", "/a/refused".__eq__, refuse),
    ]
    async with TestClient(HotServer(make_application(routes, 10, times), paths)) as opened:
        yield opened


async def test_a_hot_path_has_the_same_headers(client: Client) -> None:
    ordinary = await client.post("/b/hot", data=b"x", headers=ID)
    hot = await client.post("/a/hot", data=b"x", headers=ID)
    assert (await ordinary.text(), await hot.text()) == ("x b", "x hot")
    differing = {CLOCK, "Content-Length"}
    assert {k: v for k, v in hot.headers.items() if k not in differing} == {
        k: v for k, v in ordinary.headers.items() if k not in differing
    }
    assert "Server" not in hot.headers
    assert hot.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_hot_path_has_the_same_errors(client: Client) -> None:
    for method, where in (("POST", "hot"), ("GET", "broken"), ("DELETE", "hot")):
        ordinary = await client.request(method, f"/b/{where}", data=b"x" * 11)
        hot = await client.request(method, f"/a/{where}", data=b"x" * 11)
        assert ordinary.status == hot.status >= 400
        assert ordinary.content_type == hot.content_type == "application/problem+json"
        assert (await ordinary.json())["code"] == (await hot.json())["code"]


async def test_a_problem_raised_on_a_hot_path_is_the_same_answer_and_is_measured(
    client: Client, times: RequestTimes
) -> None:
    ordinary, hot = await client.get("/b/refused", headers=ID), await client.get("/a/refused", headers=ID)
    assert ordinary.status == hot.status == 429
    assert await ordinary.read() == await hot.read()
    assert hot.headers["Retry-After"] == "7"
    assert {k: v for k, v in hot.headers.items() if k != CLOCK} == {
        k: v for k, v in ordinary.headers.items() if k != CLOCK
    }
    assert {sample.labels for sample in times.samples()} == {
        ("test", "/{place}/refused", "4xx"),
        ("test", "/a/refused", "4xx"),
    }


async def test_a_client_that_waits_for_100_continue_gets_it(client: Client) -> None:
    response = await client.post("/a/hot", data=b"x", expect100=True)
    assert await response.text() == "x a"
