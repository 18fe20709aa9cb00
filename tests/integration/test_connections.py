"""Connections that are slow, malformed or too many, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from web.requests import bodies
from web.server import connections, port
from web.server.health import Health
from web.server.server import HttpServer, make_application

from tests.support.clients.raw_http import SECONDS, Answer, Client
from tests.support.servers.fresh import free_port
from tests.support.waiting import until

LARGE_BYTES = 50_000_000
GET = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Place:
    """A server with a few views, and connections to it."""

    def __init__(self, port: int, server: HttpServer) -> None:
        self.server = server
        self._port = port
        self._clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self._port))
        self._clients.append(client)
        return client

    async def ask(self, data: bytes) -> Answer:
        """The answer to this, from a connection that the server closes then."""
        client = await self.connect()
        await client.send(data)
        return Answer(await client.rest())

    def close(self) -> None:
        for client in self._clients:
            client.close()


async def small(_: web.Request) -> web.Response:
    return web.Response(text="small")


async def large(_: web.Request) -> web.Response:
    return web.Response(body=bytes(LARGE_BYTES))


async def post(request: web.Request) -> web.Response:
    body = await bodies.read_body(request)
    return body if isinstance(body, web.Response) else web.Response(text=str(len(body)))


class Held:
    """A view that reads a body, and answers when it may."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def view(self, request: web.Request) -> web.Response:
        self.has_begun.set()
        body = await request.read()
        await self.may_answer.wait()
        return web.Response(text=str(len(body)))


@asynccontextmanager
async def serving(max_connections: int = 100, held: Held | None = None) -> AsyncIterator[Place]:
    routes = [web.get("/small", small), web.get("/large", large), web.post("/post", post)]
    routes += [web.post("/held", held.view)] if held else []
    application = make_application(routes, max_body_bytes=1_000_000)
    port = free_port()
    server = HttpServer(
        application, "127.0.0.1", port, Health(needs={}), service="INGESTION", max_connections=max_connections
    )
    await server.on_start()
    place = Place(port, server)
    try:
        yield place
    finally:
        place.close()
        await server.drain()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with serving() as opened:
        yield opened


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that a test can wait for."""
    monkeypatch.setattr(port, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(port, "IDLE_SECONDS", 60.0)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)


def test_the_times_that_a_slow_client_has() -> None:
    assert (connections.HEAD_SECONDS, bodies.BODY_SECONDS) == (10.0, 30.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("start", [b"G", b"GET /small HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_a_head_that_is_not_complete_in_time_is_told_and_closed(start: bytes) -> None:
    async with serving() as place:
        client = await place.connect()
        await client.send(start)
        answer = Answer(await client.rest())
        assert (answer.status, answer.problem()["code"]) == (408, "slow_head")
        assert answer.headers["Connection"] == "close"


@pytest.mark.usefixtures("quick")
async def test_a_head_that_comes_byte_by_byte_is_slow_all_the_same() -> None:
    async with serving() as place:
        client = await place.connect()
        await client.send(GET[:-2] + b"X-Slow: ")
        reading = asyncio.create_task(client.rest())
        while not reading.done():
            with suppress(ConnectionError):  # it may be closed by now
                await client.send(b"a")
            await asyncio.wait([reading], timeout=0.02)
        with suppress(ConnectionResetError):  # the last byte can come after the end, which tears up the answer
            assert Answer(await reading).status == 408


@pytest.mark.usefixtures("quick")
async def test_the_second_head_on_a_connection_has_no_longer_than_the_first() -> None:
    async with serving() as place:
        client = await place.connect()
        await client.send(GET)
        assert (await client.answer()).status == 200
        await client.send(GET[:10])
        assert Answer(await client.rest()).status == 408


@pytest.mark.usefixtures("quick")
async def test_the_end_of_a_body_is_not_taken_for_the_beginning_of_a_head() -> None:
    held = Held()
    async with serving(held=held) as place:
        client, other = await place.connect(), await place.connect()
        await client.send(b"POST /held HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            await held.has_begun.wait()
        await client.send(b"12345")
        await other.send(GET[:1])
        assert Answer(await other.rest()).status == 408  # so long the other one waits, too
        held.may_answer.set()
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"5")


@pytest.mark.usefixtures("quick")
async def test_an_idle_connection_is_left_alone_and_a_body_has_its_own_time() -> None:
    async with serving() as place:
        idle, used = await place.connect(), await place.connect()
        await used.send(GET)
        assert (await used.answer()).status == 200
        slow = await place.connect()
        await slow.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")
        assert (await slow.answer()).problem()["code"] == "slow_body"
        other = await place.connect()
        await other.send(GET[:1])
        assert Answer(await other.rest()).status == 408  # by now all of them were looked at more than once
        for client in (idle, used):
            await client.send(GET)
            assert (await client.answer()).status == 200


@pytest.mark.usefixtures("quick")
async def test_a_client_that_does_not_take_its_answer_is_dropped() -> None:
    async with serving() as place:
        client = await place.connect()
        await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")

        async def dropped() -> bool:
            open_now = place.server.connections
            return not any(isinstance(one, connections.Connection) and one.untaken_bytes for one in open_now)

        async def stuck() -> bool:
            return not await dropped()

        await until(stuck, SECONDS)
        await until(dropped, SECONDS)
        assert len(await client.rest()) < LARGE_BYTES


@pytest.mark.usefixtures("quick")
async def test_a_client_that_does_not_take_the_last_answer_of_its_connection_is_dropped() -> None:
    async with serving() as place:
        client = await place.connect()
        await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        async def is_answering() -> bool:
            return any(isinstance(one, connections.Connection) and one.wire for one in place.server.connections)

        async def is_gone() -> bool:
            return not place.server.connections

        await until(is_answering, SECONDS)
        await until(is_gone, SECONDS)
        assert len(await client.rest()) < LARGE_BYTES


async def test_a_pipelined_request_is_answered_in_turn(place: Place) -> None:
    client = await place.connect()
    await client.send(GET + GET[:10])
    assert (await client.answer()).status == 200
    await client.send(GET[10:])
    assert (await client.answer()).body == b"small"


async def test_more_connections_than_allowed_are_told_so() -> None:
    async with serving(max_connections=2) as place:
        kept = [await place.connect() for _ in range(2)]
        for client in kept:
            await client.send(GET)
            assert (await client.answer()).status == 200
        answer = await place.ask(GET)
        assert (answer.status, answer.problem()["code"]) == (503, "too_many_connections")
        assert answer.headers["Retry-After"].isdecimal()
        kept[0].close()

        async def room() -> bool:
            client = await place.connect()
            await client.send(GET)
            status = (await client.answer()).status
            client.close()
            return status == 200

        await until(room, SECONDS)


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /small HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET /small HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n",
        b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}",
        b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /small HTTP/9.9\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_a_malformed_head_is_a_problem_and_no_line_in_the_log(
    place: Place, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await place.ask(head)
    assert (answer.status, answer.problem()["code"]) == (400, "malformed_request")
    assert b"nonsense" not in answer.body
    assert not caplog.records


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /small HTTP/1.1\r\nHost: localhost\r\nX: /" + b"a" * 20_000 + b"\r\n\r\n", 431, "header_too_large"),
        (b"GET /small HTTP/1.1\r\nHost: localhost\r\n" + b"a" * 20_000 + b": x\r\n\r\n", 431, "header_too_large"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "target_too_long"),
    ],
)
async def test_a_head_that_is_too_large_is_a_problem(place: Place, head: bytes, status: int, code: str) -> None:
    answer = await place.ask(head)
    assert (answer.status, answer.problem()["code"]) == (status, code)


async def test_a_malformed_head_after_a_good_one(place: Place) -> None:
    client = await place.connect()
    await client.send(GET)
    assert (await client.answer()).status == 200
    await client.send(b"nonsense\r\n\r\n")
    assert Answer(await client.rest()).problem()["code"] == "malformed_request"


async def test_an_expectation_that_is_not_known_is_a_problem(place: Place) -> None:
    answer = await place.ask(
        b"GET /small HTTP/1.1\r\nHost: localhost\r\nExpect: 200-maybe\r\nConnection: close\r\n\r\n"
    )
    assert (answer.status, answer.problem()["code"]) == (417, "expectation_failed")


@pytest.mark.parametrize("method", [b"TRACE", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"POST"])
async def test_another_method_is_told_which_are_allowed(place: Place, method: bytes) -> None:
    answer = await place.ask(
        method + b" /small HTTP/1.1\r\nHost: localhost\r\nX-Secret: s\r\nConnection: close\r\n\r\n"
    )
    assert (answer.status, answer.problem()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET,HEAD"
    assert b"X-Secret" not in answer.body


async def test_a_proxy_is_not_offered(place: Place) -> None:
    for head in (
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        client = await place.connect()
        await client.send(head)
        assert (await client.answer()).status in {400, 404, 405}


async def test_head_is_get_without_a_body(place: Place) -> None:
    answer = await place.ask(b"HEAD /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "5")


async def test_a_codings_name_is_told_where_it_is_not_known(place: Place) -> None:
    answer = await place.ask(
        b"POST /post HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Encoding: br\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
    )
    assert (answer.status, answer.problem()["code"]) == (415, "unsupported_encoding")
    assert answer.headers["Accept-Encoding"] == "gzip, zstd"


POST = b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345"
GARBAGE = b"nonsense\r\n\r\n"


@pytest.mark.parametrize("garbage", [GARBAGE, b"\x00", b"GET / HTTP/9.9\r\n\r\n", b"}" * 100_000])
@pytest.mark.parametrize("good", [[GET], [POST], [POST, GET], [POST] * 40])
async def test_good_requests_before_garbage_in_one_read_are_answered_first(
    place: Place, good: list[bytes], garbage: bytes
) -> None:
    client = await place.connect()
    await client.send(b"".join(good) + garbage)
    for request in good:
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"5" if request is POST else b"small")
    assert Answer(await client.rest()).problem()["code"] in {"malformed_request", "target_too_long"}


@pytest.mark.parametrize("cut", [1, 20, len(POST) - 6, len(POST) - 5, len(POST) - 2, len(POST)])
async def test_requests_that_are_cut_anywhere_are_all_answered(place: Place, cut: int) -> None:
    client = await place.connect()
    await client.send(POST[:cut])

    async def received() -> bool:
        (server_side,) = place.server.connections
        return isinstance(server_side, connections.Connection) and bool(
            server_side.head_since or server_side._request_count
        )

    await until(received, SECONDS)
    await client.send(POST[cut:] + POST + GET + GARBAGE)
    assert [(await client.answer()).body for _ in range(3)] == [b"5", b"5", b"small"]
    assert Answer(await client.rest()).problem()["code"] == "malformed_request"


async def test_more_requests_in_one_read_than_are_queued_are_all_answered(place: Place) -> None:
    client = await place.connect()
    await client.send((POST + GET) * 200)
    for _ in range(200):
        assert [(await client.answer()).body for _ in range(2)] == [b"5", b"small"]


@pytest.mark.parametrize("expectation", [b"", b"Expect: 100-continue\r\n"])
@pytest.mark.parametrize("path", [b"/post", b"/small", b"/nowhere"])
async def test_a_length_above_the_limit_is_refused_from_the_head_alone(
    place: Place, path: bytes, expectation: bytes
) -> None:
    async with asyncio.timeout(connections.HEAD_SECONDS / 2):  # far less than a body may take
        answer = await place.ask(
            b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10737418240\r\n" + expectation + b"\r\n"
        )
    assert (answer.status, answer.problem()["code"]) == (413, "too_large")
    assert answer.headers["Connection"] == "close"


async def test_a_client_that_sends_too_much_all_the_same_reads_the_refusal(place: Place) -> None:
    client = await place.connect()
    size = 5_000_000
    await client.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
    await client.send(bytes(size))
    assert Answer(await client.rest()).problem()["code"] == "too_large"


async def test_a_body_that_is_as_large_as_the_limit_is_read(place: Place) -> None:
    client = await place.connect()
    await client.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
    await client.send(bytes(1_000_000) + GET)
    assert (await client.answer()).body == b"1000000"
    assert (await client.answer()).body == b"small"
