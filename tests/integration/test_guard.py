"""Which hosts and origins a port answers, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from web.server.guard import Guard
from web.server.health import Health
from web.server.hot_paths import HotPath
from web.server.problems import Problem
from web.server.server import HttpServer, make_application

from tests.support.servers.fresh import free_port

APP = "https://app.example"
NAMED = Guard(hosts=["api.example", ".wide.example"], origins=[APP], listens_on="0.0.0.0")  # noqa: S104
CORP = "Cross-Origin-Resource-Policy"


async def view(_: web.Request) -> web.Response:
    return web.Response(text="here", headers={"ETag": '"1"'})


async def failing(_: web.Request) -> web.Response:
    raise Problem(409, "not_first", "Not first", "An error.")


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b": \n\n")
    return response


@asynccontextmanager
async def serving(guard: Guard | None = None, *, host: str = "127.0.0.1") -> AsyncIterator[str]:
    hot: Sequence[HotPath] = [HotPath("GET", "/hot", "/hot".__eq__, view)]
    routes = [web.get("/cold", view), web.post("/cold", view), web.get("/failing", failing), web.get("/stream", stream)]
    port = free_port()
    health = Health(needs={})
    application = make_application([*routes, *health.routes()], max_body_bytes=1_000)
    server = HttpServer(application, host, port, health, service="QUERY", hot_paths=hot, guard=guard)
    await server.on_start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.drain()


async def ask(address: str, path: str, method: str = "GET", **headers: str) -> aiohttp.ClientResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as client, client.request(method, address + path, headers=sent) as response:
        await response.read()
        assert response.headers[CORP] == "same-origin"
        return response


async def code_of(response: aiohttp.ClientResponse) -> str:
    code: str = (await response.json(content_type="application/problem+json"))["code"]
    return code


@pytest.mark.parametrize("path", ["/hot", "/cold", "/livez", "/nowhere", "/stream"])
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "6.6.6.6", "x@y"]
)
async def test_a_host_that_is_not_the_workers_own_is_refused_on_every_path(path: str, host: str) -> None:
    async with serving() as address:
        for _ in range(2):
            refused = await ask(address, path, Host=host)
            assert (refused.status, await code_of(refused)) == (421, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080", "127.1.2.3"])
async def test_loopback_has_many_names(host: str) -> None:
    async with serving() as address:
        assert (await ask(address, "/hot", Host=host)).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example", 200),
        ("API.example.:8080", 200),
        ("a.wide.example", 200),
        ("wide.example", 200),
        ("x.api.example", 421),
    ],
)
async def test_allowed_hosts_are_answered_and_a_dot_includes_subdomains(host: str, status: int) -> None:
    async with serving(NAMED, host="0.0.0.0") as address:  # noqa: S104
        assert (await ask(address, "/cold", Host=host)).status == status


async def test_an_asterisk_allows_all_hosts() -> None:
    async with serving(Guard(hosts=["*"])) as address:
        assert (await ask(address, "/cold", Host="evil.example")).status == 200


async def test_the_address_that_a_client_has_connected_to_needs_no_name() -> None:
    """Loopback would be allowed anyway: only the address of the socket is looked at here."""
    async with serving(Guard()) as address:
        port = int(address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /cold HTTP/1.1\r\n", b"400"),
        (b"GET /cold HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", b"400"),
        (b"GET /cold HTTP/1.0\r\n", b"200"),
        (b"GET http://evil.example/cold HTTP/1.1\r\nHost: localhost\r\n", b"421"),
        (b"GET http://localhost/cold HTTP/1.1\r\nHost: localhost\r\n", b"200"),
        (b"GET http://localhost/cold HTTP/1.1\r\nHost: evil.example\r\n", b"421"),
    ],
)
async def test_a_host_that_is_missing_repeated_or_in_the_target(head: bytes, status: bytes) -> None:
    async with serving() as address:
        assert (await ask(address, "/cold", Host="localhost")).status == 200  # it is remembered
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(head + b"Connection: close\r\n\r\n")
        answer = await reader.read()
        assert answer.split()[1] == status
        assert b"Cross-Origin-Resource-Policy: same-origin" in answer
        writer.close()


@pytest.mark.parametrize("path", ["/hot", "/cold"])
@pytest.mark.parametrize(
    "sent", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}]
)
async def test_a_foreign_page_cannot_write(path: str, sent: dict[str, str]) -> None:
    async with serving() as address:
        refused = await ask(address, path, "POST", **sent)
        assert (refused.status, await code_of(refused)) == (403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in refused.headers


async def test_pages_of_the_worker_and_programs_write() -> None:
    async with serving() as address:
        assert (await ask(address, "/cold", "POST")).status == 200
        assert (await ask(address, "/cold", "POST", Origin=address, Sec_Fetch_Site="same-origin")).status == 200


@pytest.mark.parametrize("path", ["/hot", "/cold", "/failing", "/stream", "/nowhere"])
async def test_an_allowed_origin_may_read_every_answer(path: str) -> None:
    async with serving(NAMED) as address:
        answer = await ask(address, path, Origin=APP)
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert answer.headers["Vary"] == "Origin"
        for name in ("ETag", "Location", "Retry-After", "Preference-Applied"):
            assert name in answer.headers["Access-Control-Expose-Headers"]
        other = await ask(address, path, Origin="https://evil.example")
        assert "Access-Control-Allow-Origin" not in other.headers
        assert other.headers["Vary"] == "Origin"


async def test_an_allowed_origin_may_write_after_a_preflight_request() -> None:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type, ce-id"}
    async with serving(NAMED) as address:
        preflight = await ask(address, "/cold", "OPTIONS", Origin=APP, **asked)
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == APP
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert preflight.headers["Access-Control-Allow-Headers"] == "content-type, ce-id"
        assert (await ask(address, "/cold", "POST", Origin=APP, Sec_Fetch_Site="cross-site")).status == 200
        refused = await ask(address, "/cold", "OPTIONS", Origin="https://evil.example", **asked)
        assert (refused.status, "Access-Control-Allow-Origin" in refused.headers) == (405, False)


async def test_without_origins_nothing_says_cors() -> None:
    async with serving() as address:
        for method in ("GET", "OPTIONS"):
            answer = await ask(address, "/cold", method, Origin=APP, Access_Control_Request_Method="POST")
            assert not [name for name in answer.headers if name.startswith("Access-Control") or name == "Vary"]
