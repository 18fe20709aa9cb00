"""Where it all runs: a temporary folder with PostgreSQL and Kafka of its own, and what is started in it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil

from app.embedded.ports import free_port
from app.embedded.processes import running_in
from app.embedded.servers import EmbeddedServers
from benchmarks.cpu import CpuMeter
from benchmarks.processes import Running
from benchmarks.system import System
from benchmarks.wrk import WrkResult, run_wrk

CONNECTIONS = 64
BARE_SERVER = "bare server"
NO_PORT = 0


class Bare:
    """The baseline, running."""

    def __init__(self, process: Running, port: int) -> None:
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.processes = {BARE_SERVER: process.measured}


class Place:
    """The servers, and a number for everything that needs a name of its own."""

    def __init__(self, folder: Path, postgres_dsn: str, broker_url: str) -> None:
        self._folder = folder
        self._postgres_dsn = postgres_dsn
        self._broker_url = broker_url
        self._numbers = itertools.count(1)
        self._servers = {
            "PostgreSQL": _root(running_in(folder / "postgres", "postgres")),
            "Kafka": _root(running_in(folder / "kafka", "java")),
        }

    async def postgres_version(self) -> str:
        """As the server tells it."""
        connection = await asyncpg.connect(self._postgres_dsn, timeout=10)
        try:
            version: str = await connection.fetchval("SHOW server_version", timeout=10)
        finally:
            await connection.close(timeout=10)
        return version

    @asynccontextmanager
    async def bare_server(self) -> AsyncIterator[Bare]:
        """The baseline as a process; ended on leaving."""
        port = free_port(but=NO_PORT)
        process = Running(["-m", "benchmarks.bare_server", str(port)], self._folder / "bare_server.log")
        try:
            bare = Bare(process, port)
            await process.answers(f"{bare.address}/")
            yield bare
        finally:
            await process.stop()

    async def bare_posts(self, seconds: float) -> tuple[WrkResult, dict[str, float]]:
        """The baseline of all that is written: single posts to the bare server, and its CPU microseconds a post."""
        async with self.bare_server() as bare:
            return await load_bare(bare, "/api/v1/events", "post.lua", seconds)

    @asynccontextmanager
    async def system(self) -> AsyncIterator[System]:
        """A system without workers: a database, a topic and a consumer group that nobody used before."""
        name = f"bench_{next(self._numbers)}"
        async with AsyncExitStack() as stack:
            owner = await asyncpg.connect(self._postgres_dsn, timeout=10, command_timeout=60)
            stack.push_async_callback(owner.close, timeout=10)
            await owner.execute(f"CREATE DATABASE {name}")
            stack.push_async_callback(owner.execute, f"DROP DATABASE {name} WITH (FORCE)")
            dsn = urlsplit(self._postgres_dsn)._replace(path=f"/{name}").geturl()
            connection = await asyncpg.connect(dsn, timeout=10, command_timeout=600)
            stack.push_async_callback(connection.close, timeout=10)
            settings = {"DATABASE_URL": dsn, "BROKER_URL": self._broker_url, "TOPIC": name, "CONSUMER_GROUP": name}
            system = System(self._folder, connection, settings, self._servers)
            stack.push_async_callback(system.stop)
            yield system


async def load_bare(bare: Bare, path: str, script: str, seconds: float) -> tuple[WrkResult, dict[str, float]]:
    """Load the bare server; what came of it, and CPU microseconds a request."""
    meter = CpuMeter(bare.processes)
    result = await run_wrk(
        bare.address + path, script, "bare", "application/cloudevents+json", connections=CONNECTIONS, seconds=seconds
    )
    return result, meter.microseconds(result.requests)


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    """Start PostgreSQL and Kafka in a new temporary folder; end them and remove it on leaving."""
    with _temporary_folder() as folder:
        servers = EmbeddedServers(folder, kafka_port=free_port(but=NO_PORT))
        try:
            yield Place(folder, await servers.start_postgres(), await servers.start_kafka())
        finally:
            await servers.stop()


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # where we are root, PostgreSQL is another user, who must pass through
        yield folder


def _root(found: list[psutil.Process]) -> psutil.Process:
    pids = {process.pid for process in found}
    return next(process for process in found if process.ppid() not in pids)
