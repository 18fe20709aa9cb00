"""Every answer has the id of its request: on a hot path, on an ordinary one, and where no view was called."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from web.server.hot_paths import HotPath
from web.server.raw_answers import malformed, raw
from web.server.server import make_application

from tests.support.clients.raw_http import Answer
from tests.support.doors.hot_server import HotServer

Client = TestClient[web.Request, web.Application]
NAME = "X-Request-Id"
PATHS = ("/hot", "/ordinary", "/nowhere", "/broken")


async def answer(_: web.Request) -> web.Response:
    return web.Response(text="x")


async def fail(_: web.Request) -> web.Response:
    raise RuntimeError("planted")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    routes = [web.get("/ordinary", answer), web.get("/hot", answer), web.get("/broken", fail)]
    paths = [HotPath("GET", "/hot", "/hot".__eq__, answer)]
    async with TestClient(HotServer(make_application(routes, 10), paths)) as opened:
        yield opened


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", ["a", "~aB3.-_" * 18, "0" * 128])
async def test_the_id_that_a_client_sends_is_in_the_answer(client: Client, path: str, sent: str) -> None:
    response = await client.get(path, headers={NAME: sent})
    assert response.headers.getall(NAME) == [sent]
    if response.status >= 400:
        assert (await response.json())["request_id"] == sent


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", [None, "", "0" * 129, "two words", "ü", "a/b", "a\tb"])
async def test_any_other_request_has_an_id_of_its_own(client: Client, path: str, sent: str | None) -> None:
    responses = [await client.get(path, headers={} if sent is None else {NAME: sent}) for _ in range(2)]
    ids = [one.headers[NAME] for one in responses]
    assert len({*ids, sent}) == 3
    if responses[0].status >= 400:
        assert [(await one.json())["request_id"] for one in responses] == ids


@pytest.mark.parametrize("headers", [{"Host": "elsewhere.example"}, {"Content-Length": "11"}])
async def test_a_request_that_is_refused_before_any_view_has_one_too(client: Client, headers: dict[str, str]) -> None:
    response = await client.post("/hot", headers={**headers, NAME: "mine"}, data=b"x" * 11)
    assert response.status in {421, 413}
    assert response.headers[NAME] == (await response.json())["request_id"] == "mine"


async def test_the_log_has_the_id_of_a_request_that_failed(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        await client.get("/broken", headers={NAME: "mine"})
    (fields,) = [record.fields for record in caplog.records if hasattr(record, "fields")]
    assert fields["request_id"] == "mine"


def test_what_is_no_request_is_answered_with_an_id_too() -> None:
    first, second = Answer(raw(malformed(None))), Answer(raw(malformed(None)))
    assert first.problem()["request_id"] == first.headers[NAME] != second.headers[NAME]
