"""Tokens for OAUTHBEARER from a token endpoint: asked for once, used until they soon expire, never a reason to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from aiokafka.errors import KafkaConnectionError

from agents.kafka import tokens
from agents.kafka.tokens import TokenEndpoint

from tests.support.servers.fresh import free_port

SECRET = "s3cret of client"  # noqa: S105 - of a test
GOOD = {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 100}


class Endpoint:
    """Answers what a test wants."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}/token"
        self.asked: list[dict[str, Any]] = []
        self.answer: web.StreamResponse | dict[str, Any] = GOOD
        self.seconds = 0.0
        self.now = 0.0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        self.asked.append({**form, "login": request.headers["Authorization"]})
        await asyncio.sleep(self.seconds)
        return web.json_response(self.answer) if isinstance(self.answer, dict) else self.answer

    def tokens(self, scope: str = "") -> TokenEndpoint:
        return TokenEndpoint(self.url, "worker", SECRET, scope, clock=lambda: self.now)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    application = web.Application()
    application.router.add_post("/token", made.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(made.url.split(":")[2].split("/")[0])).start()
    yield made
    await runner.cleanup()


async def test_a_token_is_used_until_it_soon_expires(endpoint: Endpoint) -> None:
    provider = endpoint.tokens(scope="kafka write")
    assert [await provider.token(), await provider.token()] == ["a.b.c", "a.b.c"]
    endpoint.now = 79
    await provider.token()
    (asked,) = endpoint.asked
    assert asked == {
        "grant_type": "client_credentials",
        "scope": "kafka write",
        "login": encode_basic_auth("worker", "s3cret+of+client"),
    }
    endpoint.now, endpoint.answer = 81, {**GOOD, "access_token": "d.e.f"}
    assert await provider.token() == "d.e.f"


@pytest.mark.parametrize("told", ["soon", None, [], float("nan"), -5, "60"])
async def test_a_life_that_is_no_number_is_taken_as_short(endpoint: Endpoint, told: object) -> None:
    endpoint.answer = {**GOOD, "expires_in": told}
    provider = endpoint.tokens()
    await provider.token()
    endpoint.now = 61
    await provider.token()
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        web.json_response({"error": "invalid_client", "error_description": SECRET}, status=401),
        web.json_response(GOOD, status=500),
        web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        {"access_token": "two words"},
        {"access_token": ["a"]},
        {"access_token": "ü"},
        {"token": "a"},
        web.Response(text="[" * 60_000),
        web.Response(text="[]"),
        web.Response(text="x" * 70_000),
    ],
    ids=range(10),
)
async def test_an_answer_without_a_token_names_the_endpoint_and_no_secret(
    endpoint: Endpoint, answer: web.StreamResponse | dict[str, Any]
) -> None:
    endpoint.answer = answer
    with pytest.raises(KafkaConnectionError) as error:
        await endpoint.tokens().token()
    assert endpoint.url in str(error.value)
    assert SECRET not in str(error.value)


async def test_an_endpoint_that_does_not_answer(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "REQUEST_SECONDS", 0.2)
    endpoint.seconds = 5
    with pytest.raises(KafkaConnectionError, match="does not answer"):
        await endpoint.tokens().token()
    nobody = TokenEndpoint(f"http://127.0.0.1:{free_port()}/", "worker", SECRET)
    with pytest.raises(KafkaConnectionError, match="does not answer"):
        await nobody.token()
