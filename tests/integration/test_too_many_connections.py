"""More connections, streams and unread answers than a port allows."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from headrace.access.addresses import networks
from headrace.access.caller import Caller
from headrace.access.scopes import ALL_SCOPES
from web.access.credentials import set_caller
from web.requests.waiting_answers import while_client_stays
from web.server import port as ports
from web.server.health import Health
from web.server.port import SPARE_CONNECTIONS, ConnectionLimits
from web.server.server import HttpServer, make_application

from tests.support.clients.raw_http import SECONDS, Answer, Client
from tests.support.servers.fresh import free_port
from tests.support.waiting import until

GET = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
PAGE = b"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PAGE_BYTES = 7_000_000


async def small(_: web.Request) -> web.Response:
    return web.Response(text="small")


async def page(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * PAGE_BYTES)


async def held(request: web.Request) -> web.Response:
    if caller := request.query.get("caller", ""):
        set_caller(request, Caller(caller, "", ALL_SCOPES))
    return web.Response(text=str(await while_client_stays(request, forever())))


async def forever() -> bool:
    await asyncio.Event().wait()
    return True


async def flood(request: web.Request) -> web.StreamResponse:
    """A stream whose client does not read."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b"x" * 60_000)


class Place:
    """A server with limits, and connections to it."""

    def __init__(self, port: int, server: HttpServer) -> None:
        self.server = server
        self._port = port
        self.clients: list[Client] = []

    async def connect(self, source: str = "127.0.0.1") -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0)))
        self.clients.append(client)
        return client

    async def ask(self, data: bytes, source: str = "127.0.0.1") -> Answer:
        client = await self.connect(source)
        await client.send(data)
        answer = await client.answer()
        client.close()
        return answer

    async def unsent(self) -> int:
        transports = [one.transport for one in self.server.connections]
        return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)


@asynccontextmanager
async def serving(limits: ConnectionLimits) -> AsyncIterator[Place]:
    routes = [web.get("/small", small), web.get("/page", page), web.get("/held", held), web.get("/flood", flood)]
    health = Health(needs={})
    port = free_port()
    application = make_application([*routes, *health.routes()], max_body_bytes=1_000)
    server = HttpServer(application, "127.0.0.1", port, health, service="QUERY", limits=limits)
    await server.on_start()
    place = Place(port, server)
    try:
        yield place
    finally:
        for client in place.clients:
            client.close()
        await server.drain()


@pytest.mark.parametrize("silent", [10, 1_000])
async def test_health_is_answered_at_the_connection_limit(silent: int) -> None:
    async with serving(ConnectionLimits(most=5)) as place:
        for _ in range(silent):
            await place.connect()
        for _ in range(3):
            assert (await place.ask(LIVE)).status == 200
            assert (await place.ask(LIVE.replace(b"/livez", b"/readyz?verbose"))).status == 200
        refused = await place.ask(GET)
        assert (refused.status, refused.problem()["code"]) == (503, "too_many_connections")
        assert len(place.server.connections) <= 5 + SPARE_CONNECTIONS + 1


async def test_a_connection_beyond_the_limit_asks_for_health_once_and_for_nothing_else() -> None:
    async with serving(ConnectionLimits(most=1)) as place:
        await place.connect()
        spare = await place.connect()
        await spare.send(LIVE + GET + LIVE)
        answer = await spare.rest()
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"small" not in answer
        pieces = await place.connect()
        for piece in (LIVE[:3], LIVE[3:9], LIVE[9:]):
            await pieces.send(piece)
        assert (await pieces.answer()).status == 200
        assert (await place.ask(b"POST /livez HTTP/1.1\r\n")).status == 503
        assert (await place.ask(b"GET /livezz HTTP/1.1\r\n")).status == 503


async def test_one_address_has_only_its_share_of_the_connections() -> None:
    async with serving(ConnectionLimits(most=10, most_of_one=5)) as place:
        mine = [await place.connect("127.0.0.2") for _ in range(20)]
        await mine[0].send(GET)
        assert (await mine[0].answer()).status == 200
        assert (await place.ask(GET, "127.0.0.2")).status == 503
        assert (await place.ask(GET, "127.0.0.3")).status == 200
        for client in mine:
            client.close()

        async def has_room() -> bool:
            return (await place.ask(GET, "127.0.0.2")).status == 200

        await until(has_room, SECONDS)


async def test_the_share_of_an_address_does_not_apply_to_proxies() -> None:
    limits = ConnectionLimits(most=10, most_of_one=2, proxies=networks("127.0.0.2"))
    async with serving(limits) as place:
        for _ in range(5):
            await place.connect("127.0.0.2")
        assert (await place.ask(GET, "127.0.0.2")).status == 200
        for _ in range(2):
            await place.connect("127.0.0.3")
        assert (await place.ask(GET, "127.0.0.3")).status == 503


async def test_a_caller_has_only_its_share_of_the_requests_that_are_held_open() -> None:
    async with serving(ConnectionLimits(most=100, held_of_one=2)) as place:

        async def hold(caller: str) -> Client:
            client = await place.connect()
            await client.send(GET.replace(b"small", f"held?caller={caller}".encode()))
            return client

        holders = [await hold("greedy") for _ in range(3)]
        assert (await holders[2].answer()).body == b"False"  # at once
        waiting = [await hold(caller) for caller in ("modest", "", "", "")]
        holders[0].close()

        async def has_room() -> bool:
            reading = asyncio.create_task((await hold("greedy")).answer())
            done, _ = await asyncio.wait([reading], timeout=0.2)
            reading.cancel()
            return not done

        await until(has_room, SECONDS)
        answers = [asyncio.create_task(client.answer()) for client in waiting]
        done, _ = await asyncio.wait(answers, timeout=0.1)
        assert not done
        for answer in answers:
            answer.cancel()


async def test_at_most_half_of_the_connections_are_held_open() -> None:
    async with serving(ConnectionLimits(most=6)) as place:
        waiting = [await place.connect() for _ in range(4)]
        for client in waiting:
            await client.send(GET.replace(b"small", b"held"))
        assert (await waiting[3].answer()).body == b"False"  # at once
        waiting[0].close()

        async def has_room() -> bool:
            client = await place.connect()
            await client.send(GET.replace(b"small", b"held"))
            reading = asyncio.create_task(client.answer())
            done, _ = await asyncio.wait([reading], timeout=0.2)
            reading.cancel()
            return not done

        await until(has_room, SECONDS)


@pytest.fixture
def traced() -> Iterator[None]:
    """Memory is traced."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
async def test_slow_readers_are_dropped_when_their_answers_need_too_much_memory() -> None:
    limit = 30_000_000
    async with serving(ConnectionLimits(most=200, unsent_bytes=limit)) as place:
        slow = [await place.connect() for _ in range(80)]
        for client in slow:
            await client.send(PAGE)  # and reads next to nothing
            assert len((await place.ask(GET)).body) == 5
            assert await place.unsent() <= limit + PAGE_BYTES
        _, most = tracemalloc.get_traced_memory()
        assert most < 4 * limit  # without the limit it is more than 560 MB
        quick = await place.ask(PAGE)
        assert (quick.status, len(quick.body)) == (200, PAGE_BYTES)


@pytest.mark.usefixtures("traced")
async def test_an_idle_connection_keeps_nothing_of_its_last_answer() -> None:
    async with serving(ConnectionLimits(most=200)) as place:
        for _ in range(30):
            client = await place.connect()
            await client.send(PAGE.replace(b"Connection: close\r\n", b""))
            assert len((await client.answer()).body) == PAGE_BYTES
        kept, _ = tracemalloc.get_traced_memory()
        assert kept < 3 * PAGE_BYTES
        assert len(place.server.connections) == 30


async def test_streams_that_nobody_reads_are_dropped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CHECK_SECONDS", 0.05)
    async with serving(ConnectionLimits(most=200, unsent_bytes=1_000_000)) as place:
        for _ in range(40):
            await (await place.connect()).send(GET.replace(b"small", b"flood"))

        async def some_are_dropped() -> bool:
            return len(place.server.connections) < 30 and await place.unsent() <= 1_000_000

        await until(some_are_dropped, SECONDS)
