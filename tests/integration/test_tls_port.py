"""HTTPS on a port, over real sockets: who is let in, what a broken handshake costs, and certificates that change."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from web.access.certificates import peer_identity
from web.server import certificates, connections, handshakes, port
from web.server.health import Health
from web.server.port import ConnectionLimits
from web.server.server import HttpServer, make_application
from web.server.tls_files import TlsFiles

from tests.support.clients.raw_http import SECONDS, Answer, Client
from tests.support.servers.fresh import free_port
from tests.support.servers.trusted import PAST, Trusted
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture:DeprecationWarning")

GET = b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE_BYTES = 50_000_000


async def whoami(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.scheme} {peer_identity(request)}")


async def large(_: web.Request) -> web.Response:
    return web.Response(body=bytes(LARGE_BYTES))


class Place:
    """A server with TLS, and connections to it."""

    def __init__(self, port: int, server: HttpServer, opened: AsyncExitStack) -> None:
        self.port = port
        self.server = server
        self._opened = opened

    async def connect(self, context: ssl.SSLContext | None = None) -> Client:
        """A connection; without a context, over plain TCP."""
        return await self._client(context)

    async def whoami(self, context: ssl.SSLContext) -> str:
        """What a client is told who it is, on a connection of its own."""
        client = await self._client(context)
        await client.send(GET)
        return (await client.answer()).body.decode()

    async def certificate(self, context: ssl.SSLContext) -> object:
        """The names in the certificate that a new connection gets."""
        _, writer = await self._open(context)
        return writer.get_extra_info("peercert")["subjectAltName"]

    async def _client(self, context: ssl.SSLContext | None) -> Client:
        return Client(*await self._open(context))

    async def _open(self, context: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = None if context is None else "localhost"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)
        self._opened.callback(_abort, writer)
        return reader, writer


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def serving(files: TlsFiles, limits: ConnectionLimits | None = None) -> AsyncIterator[Place]:
    number = free_port()
    health = Health(needs={})
    application = make_application([web.get("/whoami", whoami), web.get("/large", large), *health.routes()], 1_000_000)
    server = HttpServer(application, "127.0.0.1", number, health, service="INGESTION", tls=files, limits=limits)
    await server.start()
    async with AsyncExitStack() as opened:
        try:
            yield Place(number, server, opened)
        finally:
            await opened.aclose()
            await server.stop()


@pytest.fixture(
    scope="module", params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"]
)
def event_loop_policy(request: pytest.FixtureRequest) -> object:
    """Workers use uvloop, whose TLS is its own."""
    return request.param()


@pytest.fixture
def trusted(tmp_path: Path) -> Trusted:
    return Trusted(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Trusted:
    return Trusted(tmp_path, "other")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(certificates, "CHECK_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """No throttling: lines of other tests would count."""
    monkeypatch.setattr(handshakes.throttled, "_written", {})
    monkeypatch.setattr(certificates, "THROTTLE_SECONDS", 0.0)


def lines(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    return [one.getMessage() for one in caplog.records if str(getattr(one, "action", "")) == action]


async def test_a_port_speaks_https_to_clients_that_know_its_authority_and_to_no_others(
    trusted: Trusted, other: Trusted
) -> None:
    async with serving(trusted.files("server")) as place:
        assert await place.whoami(trusted.client()) == "https None"
        with pytest.raises(ssl.SSLCertVerificationError):
            await place.whoami(other.client())


async def test_the_protocol_is_tls_1_2_or_newer_with_http_1_1(trusted: Trusted) -> None:
    async with serving(trusted.files("server")) as place:
        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusted.client()
            context.maximum_version = newest
            context.set_alpn_protocols(["h2", "http/1.1"])
            _, writer = await place._open(context)
            found = writer.get_extra_info("ssl_object")
            assert (found.selected_alpn_protocol(), found.compression()) == ("http/1.1", None)
            assert found.version() == newest.name.replace("_", ".")
        old = trusted.client()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await place.whoami(old)


async def test_plain_http_ends_the_connection_with_one_line_in_the_log(
    trusted: Trusted, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(trusted.files("server")) as place:
        for _ in range(3):
            client = await place.connect()
            await client.send(GET)
            with suppress(ConnectionError):
                assert not (await client.rest()).startswith(b"HTTP")
        assert await place.whoami(trusted.client()) == "https None"
    assert lines(caplog, "tls.refused") == [
        "INGESTION: a TLS handshake failed: the client speaks plain HTTP (http:// instead of https://)"
    ]
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR or one.exc_info]


async def test_clients_that_give_up_their_handshake_leave_no_line_and_no_place(
    trusted: Trusted, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(trusted.files("server"), ConnectionLimits(most=3, most_of_one=3)) as place:
        for data in [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\xff" * 20] * 2:
            client = await place.connect()
            await client.send(data)
            client.close()
        assert await until_whoami(place, trusted.client()) == "https None"
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR or one.exc_info]


@pytest.mark.parametrize("sends", [b"", b"\x16\x03\x01"], ids=["nothing", "the beginning"])
async def test_silent_handshakes_hold_no_more_places_than_allowed_and_not_for_long(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch, sends: bytes
) -> None:
    monkeypatch.setattr(handshakes, "HANDSHAKE_SECONDS", 4.0)
    async with serving(trusted.files("server"), ConnectionLimits(most=50, most_of_one=50)) as place:
        began = time.monotonic()
        silent = [await place.connect() for _ in range(200)]
        for client in silent[:50]:
            await client.send(sends)
        health = await place.connect(trusted.client())
        await health.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await health.answer()).status == 200
        asked = await place.connect(trusted.client())
        await asked.send(GET)
        status = (await asked.answer()).status
        assert status == 503 or time.monotonic() - began > handshakes.HANDSHAKE_SECONDS  # on a slow machine
        assert await until_whoami(place, trusted.client()) == "https None"
        for client in silent:
            assert await ended(client)


async def test_a_handshake_that_comes_byte_by_byte_is_ended_all_the_same(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "HANDSHAKE_SECONDS", 0.3)
    async with serving(trusted.files("server")) as place:
        client = await place.connect()
        await client.send(b"\x16\x03\x01\x02\x00")
        ending = asyncio.create_task(ended(client))
        while not ending.done():
            try:
                await client.send(b"\x01")
            except ConnectionError:
                break
            await asyncio.wait([ending], timeout=0.02)
        assert await ending


async def test_a_client_that_does_not_read_its_answer_is_dropped_over_tls_too(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(trusted.files("server")) as place:
        client = await place.connect(trusted.client())
        await client.send(GET.replace(b"/whoami", b"/large"))

        def unsent() -> int:
            return sum(one.unsent_bytes for one in place.server.connections if isinstance(one, connections.Connection))

        await until(answers(lambda: unsent() > LARGE_BYTES // 2), SECONDS)
        monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.3)
        await until(answers(lambda: not place.server.connections), SECONDS)
        assert len(await client.rest()) < LARGE_BYTES


async def test_a_client_that_does_not_end_tls_is_not_waited_for(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.1)
    async with serving(trusted.files("server")) as place:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusted.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await place._open(None)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65_536))
        writer.write(outgoing.read())
        tls.write(b"GET")
        writer.write(outgoing.read())
        await until(answers(lambda: bool(place.server.connections)), SECONDS)
        await until(answers(lambda: not place.server.connections), SECONDS)


async def test_a_large_answer_reaches_a_client_that_closes_after_it(trusted: Trusted) -> None:
    async with serving(trusted.files("server")) as place:
        client = await place.connect(trusted.client())
        await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert len(Answer(await client.rest()).body) == LARGE_BYTES


async def test_with_client_authorities_a_client_is_who_its_certificate_says(
    trusted: Trusted, other: Trusted, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(trusted.files("server", client_ca=other.file)) as place:
        assert await place.whoami(trusted.client(other.issue("d1", "device-1"))) == "https dns:device-1"
        assert await place.whoami(trusted.client(other.issue("d2", "ops@example.com"))) == "https email:ops@example.com"
        for wrong in (None, trusted.issue("foreign", "device-1"), other.issue("old", "device-1", ends=PAST)):
            with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
                await place.whoami(trusted.client(wrong))
    assert len(lines(caplog, "tls.refused")) == 1
    assert "the client has no certificate" in lines(caplog, "tls.refused")[0]


async def test_a_session_of_a_client_with_a_certificate_is_never_resumed(trusted: Trusted, other: Trusted) -> None:
    async with serving(trusted.files("server", client_ca=other.file)) as place:
        context = trusted.client(other.issue("d1", "device-1"))
        _, writer = await place._open(context)
        session = writer.get_extra_info("ssl_object").session
        assert session is None or not session.has_ticket


async def test_new_files_are_for_new_connections_and_open_connections_stay(
    trusted: Trusted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(trusted.files("server", "localhost")) as place:
        kept = await place.connect(trusted.client())
        await kept.send(GET)
        assert (await kept.answer()).status == 200
        trusted.issue("server", "localhost", "renewed.example")

        async def is_new() -> bool:
            return ("DNS", "renewed.example") in (await place.certificate(trusted.client()))  # type: ignore[operator]

        await until(is_new, SECONDS)
        await kept.send(GET)
        assert (await kept.answer()).status == 200
    assert lines(caplog, "tls.reloaded")


async def test_files_that_cannot_be_used_change_nothing_until_they_can(
    trusted: Trusted, caplog: pytest.LogCaptureFixture
) -> None:
    files = trusted.files("server", "localhost")
    async with serving(files) as place:
        certificate = files.certificate.read_bytes()
        for content in (b"", certificate[:100], certificate.replace(b"CERTIFICATE", b"NOTHING")):
            files.certificate.write_bytes(content)
            caplog.clear()
            await until(answers(lambda: bool(lines(caplog, "tls.kept"))), SECONDS)
            assert f"INGESTION_TLS_CERTIFICATE={files.certificate}: no certificate" in lines(caplog, "tls.kept")[0]
            assert await place.whoami(trusted.client()) == "https None"
        files.certificate.unlink()
        trusted.issue("server", "localhost", ends=PAST)
        caplog.clear()
        await until(answers(lambda: any("it expired at" in one for one in lines(caplog, "tls.kept"))), SECONDS)
        assert await place.whoami(trusted.client()) == "https None"
        trusted.issue("server", "localhost", "renewed.example")

        async def is_new() -> bool:
            return ("DNS", "renewed.example") in (await place.certificate(trusted.client()))  # type: ignore[operator]

        await until(is_new, SECONDS)


async def test_authorities_of_clients_change_too(trusted: Trusted, other: Trusted, tmp_path: Path) -> None:
    authorities = tmp_path / "clients.pem"
    authorities.write_bytes(other.file.read_bytes())
    async with serving(trusted.files("server", client_ca=authorities)) as place:
        theirs = trusted.client(other.issue("d1", "device-1"))
        ours = trusted.client(trusted.issue("d2", "device-2"))
        assert await place.whoami(theirs) == "https dns:device-1"
        authorities.write_bytes(trusted.file.read_bytes())

        assert await until_whoami(place, ours) == "https dns:device-2"
        with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
            await place.whoami(theirs)


async def test_a_certificate_that_has_expired_is_served_with_a_warning(
    trusted: Trusted, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(trusted.files("server", ends=PAST)) as place:
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await place.whoami(trusted.client())
        careless = trusted.client()
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        assert await place.whoami(careless) == "https None"
    assert "it expired at" in lines(caplog, "tls.expires")[0]


def answers(check: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return check()

    return answer


async def ended(client: Client) -> bool:
    try:
        await client.rest()
    except ConnectionError:
        return True
    return True


async def until_whoami(place: Place, context: ssl.SSLContext) -> str:
    """The answer, as soon as there is a place."""
    found: list[str] = []

    async def has_place() -> bool:
        try:
            told = await place.whoami(context)
        except (OSError, asyncio.IncompleteReadError):
            return False
        found.append(told)
        return told.startswith("https ")

    await until(has_place, SECONDS)
    return found[-1]
