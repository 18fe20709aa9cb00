"""A worker with HTTPS on both ports: an event's way, new certificates at SIGHUP, its stop, refused starts."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.test_banner import is_up
from tests.acceptance.test_refused_starts import run
from tests.acceptance.test_worker import READING
from tests.support.servers.trusted import Trusted
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

SECONDS = 30.0


@pytest.fixture
def trusted(tmp_path: Path) -> Trusted:
    return Trusted(tmp_path)


@pytest.fixture
async def worker(
    tmp_path: Path, trusted: Trusted, database_dsn: str, kafka: str, topic: str
) -> AsyncIterator[WorkerProcess]:
    made = WorkerProcess(
        tmp_path, DATABASE_URL=database_dsn, BROKER_URL=kafka, TOPIC=topic, CONSUMER_GROUP=topic, DRAIN_SECONDS="2"
    )
    for port in ("ingestion", "query"):
        certificate, key = trusted.issue(port)
        made.set(**{f"{port.upper()}_TLS_CERTIFICATE": str(certificate), f"{port.upper()}_TLS_KEY": str(key)})
    made.ingestion = made.ingestion.replace("http:", "https:")
    made.query = made.query.replace("http:", "https:")
    made.start()
    try:
        yield made
    finally:
        made.stop()


def session(trusted: Trusted) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted.client()))


async def post(client: aiohttp.ClientSession, worker: WorkerProcess, event_id: str) -> int:
    async with client.post(f"{worker.ingestion}/api/v1/events", json={"id": event_id, **READING}) as response:
        return response.status


async def status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as response:
        return response.status


async def test_events_are_posted_read_and_streamed_over_https(worker: WorkerProcess, trusted: Trusted) -> None:
    await is_up(worker)
    text = worker.log.read_text()
    assert f"ingestion      {worker.ingestion}/api/v1/events" in text
    assert f"curl -s {worker.query}/api/v1/projections" in text
    row = f"{worker.query}/api/v1/projections/devices/dev%2F1%20%C3%BC"
    async with session(trusted) as client:
        for address in (worker.ingestion, worker.query):
            assert await status(client, f"{address}/readyz") == 200
        assert await post(client, worker, "1") == 202

        async def is_there() -> bool:
            return await status(client, row) == 200

        await until(is_there, SECONDS)
        async with client.get(f"{worker.query}/api/v1/projections/devices/changes") as stream:
            assert stream.status == 200
            assert await post(client, worker, "2") == 202
            async with asyncio.timeout(SECONDS):
                async for line in stream.content:
                    if b"dev/1" in line:
                        break
        with pytest.raises(aiohttp.ClientError):
            await status(client, row.replace("https:", "http:"))


async def test_sighup_loads_certificates_and_ends_neither_worker_nor_connections(
    worker: WorkerProcess, trusted: Trusted
) -> None:
    await is_up(worker)
    async with session(trusted) as client:
        assert await post(client, worker, "1") == 202
        trusted.issue("ingestion", "localhost", "127.0.0.1", "renewed.example")
        worker.process.send_signal(signal.SIGHUP)

        async def is_renewed() -> bool:
            return "renewed.example" in await asyncio.to_thread(names_at, worker.ingestion_port, trusted)

        await until(is_renewed, SECONDS)
        # Without a change of the files, too.
        before = worker.log.read_text().count("INGESTION: new connections get")
        worker.process.send_signal(signal.SIGHUP)

        async def has_loaded() -> bool:
            return worker.log.read_text().count("INGESTION: new connections get") > before

        await until(has_loaded, SECONDS)
        assert await post(client, worker, "2") == 202
        connector = client.connector
        assert connector is not None
        assert sum(len(kept) for kept in connector._conns.values()) == 1  # the connection that was opened first
    assert worker.process.poll() is None


async def test_a_stop_drains_over_https(worker: WorkerProcess, trusted: Trusted) -> None:
    await is_up(worker)
    async with session(trusted) as client:
        assert await status(client, f"{worker.ingestion}/readyz") == 200
        worker.process.send_signal(signal.SIGTERM)

        async def is_draining() -> bool:
            return await status(client, f"{worker.ingestion}/readyz") == 503

        await until(is_draining, SECONDS)
        assert await post(client, worker, "1") == 202
    assert await asyncio.to_thread(worker.process.wait, SECONDS) == 0
    assert "Traceback" not in worker.log.read_text()


def test_a_start_with_files_that_cannot_be_used_names_them_all(tmp_path: Path, trusted: Trusted) -> None:
    certificate, _ = trusted.issue("server")
    _, other = trusted.issue("other")
    code, lines = run(
        tmp_path,
        DATABASE_URL="postgresql://127.0.0.1:1/x",
        BROKER_URL="kafka://127.0.0.1:1",
        INGESTION_TLS_CERTIFICATE=str(certificate),
        INGESTION_TLS_KEY=str(other),
        QUERY_TLS_CERTIFICATE="/nowhere.pem",
        HEALTH_TLS_CERTIFICATE="/nowhere.pem",
        LOG_LEVEL="ERROR",
    )
    assert code != 0
    assert [line.partition(": ")[2].partition(";")[0] for line in lines if line.startswith("headrace: ")] == [
        f"INGESTION_TLS_KEY={other}: not the key of the first certificate in {certificate}",
        "QUERY_TLS_CERTIFICATE=/nowhere.pem: cannot be read (No such file or directory)",
    ]


def names_at(port: int, trusted: Trusted) -> str:
    """The names in the certificate of a port."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        trusted.client().wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        assert isinstance(tls, ssl.SSLSocket)
        return str(tls.getpeercert())
