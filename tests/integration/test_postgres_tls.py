"""TLS to a real PostgreSQL: every connection has what DATABASE_URL demands, and what is wrong has a clear line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.relay.outbox_listener import OutboxListener
from agents.upkeep.database_opener import DatabaseOpener
from app.commands.connecting import connect
from app.worker.preflight import postgres_problems
from headrace.errors import DependencyAwayError, StartError
from headrace.process.waiting import WakeUp
from tables.database import Database, drop
from tables.refusals import refusal
from tables.session import settle

from tests.support.servers.fresh import server_folder
from tests.support.servers.tls_postgres import TlsPostgres
from tests.support.servers.trusted import PAST, Trusted
from tests.support.waiting import until

SECONDS = 30.0
ATTEMPTS = 5
"""After a refusal, the server resets the connection: sometimes nothing else arrives. A worker retries."""
PLAIN = """
SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = 'headrace' AND NOT ssl
"""
LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'headrace' AND query ~ '^(LISTEN|SELECT 1)'"


class Place:
    """The server, the authorities, and what a worker would say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = TlsPostgres(folder)
        self.trusted = Trusted(folder, "trusted")
        self.other = Trusted(folder, "other")
        self.clients = Trusted(folder, "clients")

    def verified(self, **parameters: object) -> str:
        """An address whose server is verified by the right authority."""
        given: dict[str, Any] = {"sslmode": "verify-full", "sslrootcert": self.trusted.file, **parameters}
        return self.server.dsn(**given)

    def shown(self, certificate: tuple[Path, Path] | None) -> str:
        """The same, for a client that shows this certificate."""
        files = {} if certificate is None else {"sslcert": certificate[0], "sslkey": certificate[1]}
        return self.verified(user="shown", **files)


@pytest.fixture(scope="module")
def started() -> Iterator[Place]:
    with server_folder() as folder:
        place = Place(folder)
        place.server.launch(place.clients)
        try:
            asyncio.run(place.server.prepare(place.trusted))
            yield place
        finally:
            place.server.stop()


@pytest.fixture
async def place(started: Place) -> AsyncIterator[Place]:
    yield started
    await started.server.shows(*started.trusted.issue("postgres", "127.0.0.1", "db.example"))


async def told(dsn: str) -> str:
    """Why a start with this address ends: the line, which is the same for a worker and a command."""
    for _ in range(ATTEMPTS):
        with pytest.raises((StartError, DependencyAwayError)) as refused:
            await connect(dsn)
        if isinstance(refused.value, StartError):
            break
    problems: Sequence[str] = []
    for _ in range(ATTEMPTS):
        problems = problems or await postgres_problems("DATABASE_URL", dsn, ["query"])
    assert [str(refused.value)] == list(problems)
    assert "\n" not in problems[0]
    return problems[0]


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
async def test_a_server_of_the_right_authority_is_accepted(place: Place, mode: str) -> None:
    drop(await connect(place.verified(sslmode=mode)))


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
async def test_a_server_of_another_authority_ends_the_start(place: Place, mode: str) -> None:
    line = await told(place.verified(sslmode=mode, sslrootcert=place.other.file))
    assert line.startswith("TLS to PostgreSQL: its certificate is not accepted")
    assert "sslrootcert" in line


async def test_the_authority_may_be_in_the_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(place.trusted.file))
    drop(await connect(place.server.dsn(sslmode="verify-full")))
    monkeypatch.setenv("PGSSLROOTCERT", str(place.other.file))
    assert "its certificate is not accepted" in await told(place.server.dsn(sslmode="verify-full"))
    monkeypatch.setenv("PGSSLROOTCERT", str(place.folder / "missing"))
    assert f"PGSSLROOTCERT={place.folder}/missing" in await told(place.server.dsn(sslmode="verify-full"))


async def test_a_certificate_for_another_host_ends_the_start_only_where_the_host_is_verified(place: Place) -> None:
    line = await told(place.verified(host="localhost"))
    assert line.startswith("TLS to PostgreSQL: its certificate is not accepted")
    assert "localhost" in line
    drop(await connect(place.verified(host="localhost", sslmode="verify-ca")))


async def test_an_expired_certificate_of_the_server_ends_the_start(place: Place) -> None:
    await place.server.shows(*place.trusted.issue("expired", "127.0.0.1", ends=PAST))
    assert "has expired" in await told(place.verified())


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
async def test_a_server_without_tls_ends_the_start(place: Place, mode: str) -> None:
    await place.server.set(ssl="off")
    line = await told(place.verified(sslmode=mode))
    assert line.startswith("PostgreSQL has no TLS: ")
    assert "sslmode" in line


async def test_a_client_shows_its_certificate_and_is_let_in(place: Place) -> None:
    drop(await connect(place.shown(place.clients.issue("shown", name="shown"))))


@pytest.mark.parametrize("wrong", ["none", "foreign", "expired", "another's", "other key", "missing key"])
async def test_a_client_without_a_certificate_that_the_server_accepts_ends_the_start(place: Place, wrong: str) -> None:
    certificate, _ = place.clients.issue("shown", name="shown")
    shown: tuple[Path, Path] | None
    match wrong:
        case "none":
            shown = None
        case "foreign":
            shown = place.other.issue("foreign", name="shown")
        case "expired":
            shown = place.clients.issue("expired", ends=PAST, name="shown")
        case "another's":
            shown = place.clients.issue("stranger", name="stranger")
        case "other key":
            shown = certificate, place.clients.issue("second")[1]
        case _:
            shown = certificate, place.folder / "missing"
    line = await told(place.shown(shown))
    assert line.startswith(("TLS to PostgreSQL: ", "PostgreSQL refuses the login: "))
    assert "sslcert" in line or "sslkey" in line or "certificate" in line


async def test_every_connection_has_what_the_address_demands(place: Place) -> None:
    dsn = place.verified()
    database = Database(pool_size=4, timeout_seconds=5)
    opener = DatabaseOpener(database, dsn)
    await opener.start()
    listener = OutboxListener(database, WakeUp())
    await listener.start()
    try:
        for parameter in ("sslmode=verify-full", f"sslrootcert={str(place.trusted.file).replace('/', '%2F')}"):
            assert parameter in database.dsn
        async with database.acquire("rows") as rows, database.acquire("reads") as reads:
            assert await rows.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert await reads.fetchval(PLAIN) == 0
    finally:
        await listener.stop()
        await opener.stop()


async def test_a_running_worker_waits_and_says_the_reason_when_the_certificate_changes(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(pool_size=4, timeout_seconds=5)
    first = await connect(place.verified())
    dsn = await settle(first, place.verified())
    drop(first)
    await database.open(dsn)
    await place.server.shows(*place.other.issue("postgres", "127.0.0.1"))
    listener = OutboxListener(database, WakeUp())
    await listener.start()
    try:

        async def is_told() -> bool:
            return any("its certificate is not accepted" in one.getMessage() for one in caplog.records)

        await until(is_told, SECONDS, lambda: caplog.text)
        assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
        await place.server.shows(*place.trusted.issue("postgres", "127.0.0.1"))

        async def is_back() -> bool:
            return bool(await place.server.value(LISTENERS))

        await until(is_back, SECONDS)
    finally:
        await listener.stop()
        database.close()


def test_what_a_wait_cures_is_no_refusal() -> None:
    for error in (ConnectionRefusedError(), TimeoutError(), ConnectionResetError()):
        assert refusal(error, "postgresql://db/x?sslmode=verify-full") is None
