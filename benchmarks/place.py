"""Where it all runs: a temporary folder with PostgreSQL and Kafka of its own, and what is started in it."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import psutil

from app.embedded.ports import free_port
from app.embedded.processes import running_in
from app.embedded.servers import EmbeddedServers
from tables.database import Connection

from benchmarks.cpu import CpuMeter
from benchmarks.open_kafka import start_open_kafka
from benchmarks.processes import Running, python
from benchmarks.system import System
from benchmarks.wrk import WrkResult, run_wrk

CONNECTIONS = 64
BARE_SERVER = "bare server"
POSTGRES, KAFKA = "PostgreSQL", "Kafka"
NO_PORT = 0
CONNECT_SECONDS = 10
# Longer than any statement of a benchmark; making a database from a large one copies all of it.
STATEMENT_SECONDS = 600
DROP_AGAIN_SECONDS = 0.2


class Server(NamedTuple):
    """PostgreSQL (its DSN) or Kafka (kafka://host:port), and its first process."""

    address: str
    process: psutil.Process


class Bare:
    """The baseline, running."""

    def __init__(self, process: Running, port: int) -> None:
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.processes = {BARE_SERVER: process.measured}


class Place:
    """The servers, and a name for everything that needs one of its own."""

    def __init__(self, folder: Path, postgres: Server, kafka: Server) -> None:
        self.folder = folder
        self.postgres = postgres
        self.kafka = kafka
        self.made: set[str] = set()
        """Databases that are kept for the whole session, to be copied."""
        self._numbers = itertools.count(1)

    @property
    def bootstrap_servers(self) -> str:
        """Kafka's address as clients other than ours want it."""
        return self.kafka.address.removeprefix("kafka://")

    def new_name(self) -> str:
        """A name for a database, a topic, a consumer group: nobody has used it before."""
        return f"bench_{next(self._numbers)}"

    async def postgres_version(self) -> str:
        """As the server tells it."""
        connection = await connect(self.postgres.address)
        try:
            version: str = await connection.fetchval("SHOW server_version")
        finally:
            await connection.close(timeout=CONNECT_SECONDS)
        return version

    @asynccontextmanager
    async def bare_server(self) -> AsyncIterator[Bare]:
        """The baseline as a process; ended on leaving."""
        port = free_port(but=NO_PORT)
        process = Running(python("-m", "benchmarks.bare_server", str(port)), self.folder / "bare_server.log")
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
    async def database(
        self, name: str, *, postgres: Server | None = None, like: str | None = None
    ) -> AsyncIterator[tuple[str, Connection]]:
        """A new database, a copy of the database `like`: its DSN and a connection; dropped on leaving."""
        server = postgres or self.postgres
        async with AsyncExitStack() as stack:
            owner = await connect(server.address)
            stack.push_async_callback(owner.close, timeout=CONNECT_SECONDS)
            await owner.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {like} STRATEGY FILE_COPY" if like else ""))
            stack.push_async_callback(_drop, owner, name)
            dsn = dsn_of(server, name)
            connection = await connect(dsn)
            stack.push_async_callback(connection.close, timeout=CONNECT_SECONDS)
            yield dsn, connection

    @asynccontextmanager
    async def system(self, *, postgres: Server | None = None, like: str | None = None) -> AsyncIterator[System]:
        """A system without workers: a database, a topic and a consumer group of its own."""
        name = self.new_name()
        server = postgres or self.postgres
        async with self.database(name, postgres=server, like=like) as (dsn, connection):
            settings = {"DATABASE_URL": dsn, "BROKER_URL": self.kafka.address, "TOPIC": name, "CONSUMER_GROUP": name}
            servers = {POSTGRES: server.process, KAFKA: self.kafka.process}
            system = System(self.folder, connection, settings, servers)
            try:
                yield system
            finally:
                await system.stop()


async def _drop(owner: Connection, name: str) -> None:
    """Drop a database. FORCE ends our own sessions; PostgreSQL's own vacuuming, which it may not end, is waited for."""
    async with asyncio.timeout(STATEMENT_SECONDS):
        while True:
            try:
                await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
            except asyncpg.InsufficientPrivilegeError:
                await asyncio.sleep(DROP_AGAIN_SECONDS)
            else:
                return


def dsn_of(postgres: Server, database: str) -> str:
    """The DSN of a database of this server."""
    return urlsplit(postgres.address)._replace(path=f"/{database}").geturl()


async def connect(dsn: str) -> Connection:
    """A connection to PostgreSQL."""
    connection: Connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, command_timeout=STATEMENT_SECONDS)
    return connection


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
        servers = EmbeddedServers(folder)
        try:
            dsn = await servers.start_postgres()
            broker_url = await start_open_kafka(folder, free_port(but=NO_PORT))
            postgres = Server(dsn, first_process(folder / "postgres", "postgres"))
            yield Place(folder, postgres, Server(broker_url, first_process(folder / "kafka", "java")))
        finally:
            await servers.stop()


def first_process(folder: Path, program: str) -> psutil.Process:
    """Of the processes of a server that runs in this folder, the one that started the others."""
    found = running_in(folder, program)
    pids = {process.pid for process in found}
    return next(process for process in found if process.ppid() not in pids)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # where we are root, PostgreSQL is another user, who must pass through
        yield folder
