"""Real servers for the tests: started once for a run, ended with it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest

from app.embedded.servers import EmbeddedServers
from tables.database import Connection, Database, Pool
from tables.migrate import migrate

from waiting import until

# The machine is shared: an example that takes long says nothing.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=50)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

TEMPLATE = "template_of_tests"
DROP_SECONDS = 60.0


def pytest_configure(config: pytest.Config) -> None:
    """Fixtures that are not here: a whole worker, and those of the fault tests with the table that they print."""
    config.pluginmanager.import_plugin("system")
    config.pluginmanager.import_plugin("fault_fixtures")


_numbers = itertools.count(1)


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for the data of servers. Not pytest's own: each start of pytest closes those to other users, and where
    the tests run as root, PostgreSQL is another user."""
    with tempfile.TemporaryDirectory(prefix="headrace-tests-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """Embedded servers of the test run's own; what is started is ended with the run."""
    with server_folder() as folder:
        embedded = EmbeddedServers(folder, kafka_port=free_port())
        yield embedded
        asyncio.run(embedded.stop())


@pytest.fixture(scope="session")
def postgres_dsn(servers: EmbeddedServers) -> str:
    """PostgreSQL, with a migrated database to clone."""

    async def start() -> str:
        dsn = await servers.start_postgres()
        connection = await asyncpg.connect(dsn)
        await connection.execute(f"CREATE DATABASE {TEMPLATE}")
        await connection.close()
        connection = await asyncpg.connect(database_url(dsn, TEMPLATE))
        await migrate(connection)
        await connection.close()
        return dsn

    return asyncio.run(start())


@contextmanager
def new_database(postgres_dsn: str) -> Iterator[str]:
    """A migrated database that no test has used."""
    name = f"test_{os.getpid()}_{next(_numbers)}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
    try:
        yield database_url(postgres_dsn, name)
    finally:
        # Not WITH (FORCE): it fails where it may not end an autovacuum worker, which is another user's; without, that
        # is asked to go.
        sessions = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND usename = current_user"

        async def is_dropped() -> bool:
            await execute(f"SELECT pg_terminate_backend(pid) FROM ({sessions}) AS ours")
            try:
                await execute(f"DROP DATABASE {name}")
            except asyncpg.ObjectInUseError:  # a busy machine: for 5 s a session has not gone
                return False
            return True

        asyncio.run(until(is_dropped, DROP_SECONDS, f"{name} is in use"))


@pytest.fixture
def database_dsn(postgres_dsn: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    with new_database(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture
async def pool(database_dsn: str) -> AsyncIterator[Pool]:
    """Connections to the test's database."""
    opened = await asyncpg.create_pool(database_dsn, min_size=0, max_size=10, command_timeout=20)
    yield opened
    await opened.close()


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator[Connection]:
    """One connection to the test's database."""
    opened: Connection = await asyncpg.connect(database_dsn, command_timeout=20)
    yield opened
    await opened.close()


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """The test's database as the services see it."""
    opened = Database(pool_size=5, timeout_seconds=10)
    await opened.open(database_dsn)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def kafka(servers: EmbeddedServers) -> str:
    """A broker, as `kafka://host:port`."""
    return asyncio.run(servers.start_kafka())


@pytest.fixture
def topic() -> str:
    """A topic name that no other test uses."""
    return new_topic()


def new_topic() -> str:
    """A topic name that nobody uses."""
    return f"events-{os.getpid()}-{next(_numbers)}"


def database_url(dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def free_port() -> int:
    """A port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
