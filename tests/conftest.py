"""Real servers for the tests: started once for a run, ended with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import asyncpg
import hypothesis
import pytest

from app.embedded.servers import EmbeddedServers
from tables.database import Connection, Database, Pool
from tables.migrate import migrate

from tests.support.servers.fresh import TEMPLATE, database_url, free_port, new_database, new_topic, server_folder
from tests.support.servers.own_kafka import OwnKafka

# The machine is shared: an example that takes long says nothing.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=50)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure(config: pytest.Config) -> None:
    """Fixtures that are not here: a whole worker, and those of the fault tests; and what the summary says."""
    config.pluginmanager.import_plugin("tests.support.servers.system")
    config.pluginmanager.import_plugin("tests.faults.fault_fixtures")
    config.pluginmanager.import_plugin("tests.support.not_installed")
    config.pluginmanager.import_plugin("tests.support.run_folder")
    config.pluginmanager.import_plugin("tests.support.turns")


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[EmbeddedServers]:
    """Embedded servers of the test run's own; what is started is ended with the run."""
    on_disk = any(item.get_closest_marker("faults") for item in request.session.items)
    with server_folder(on_disk=on_disk) as folder:
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
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """A broker that lets everybody in, as `kafka://host:port`; the embedded one has a password."""
    on_disk = any(item.get_closest_marker("faults") for item in request.session.items)
    with server_folder(on_disk=on_disk) as folder:
        broker = OwnKafka(folder, proxy_port=free_port())
        broker.proxy_port = broker.port
        asyncio.run(broker.start())
        yield broker.url
        asyncio.run(broker.stop())


@pytest.fixture
def topic() -> str:
    """A topic name that no other test uses."""
    return new_topic()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape what UTF-8 cannot hold: a report with a lone surrogate in its captured log would end the test process."""
    return encodable((yield))


def encodable(value: Any) -> Any:
    """The value with each of its strings in UTF-8; lone surrogates are escaped."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(member) for key, member in value.items()}
    return type(value)(map(encodable, value)) if isinstance(value, list | tuple) else value
