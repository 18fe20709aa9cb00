"""Databases that Headrace refuses at start, each with one line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from headrace.errors import StartError
from tables import database as databases
from tables.database import Connection
from tables.intake import outbox
from tables.migrate import table_names
from tables.session import settle

from tests.support.data.events import event
from tests.support.servers.fresh import database_url


@pytest.fixture
async def session(database_dsn: str) -> AsyncIterator[Connection]:
    """As a worker's first."""
    opened = await databases.connect(database_dsn, timeout_seconds=10)
    yield opened
    databases.drop(opened)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_that_is_not_utf8_is_refused(postgres_dsn: str, encoding: str) -> None:
    server = await asyncpg.connect(postgres_dsn)
    name = f"encoded_{encoding.lower()}"
    await server.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    dsn = database_url(postgres_dsn, name)
    connection = await databases.connect(dsn, timeout_seconds=10)
    try:
        with pytest.raises(StartError, match=f"{name} has the encoding {encoding}; Headrace needs UTF8"):
            await settle(connection, dsn)
    finally:
        await connection.close()
        await server.execute(f"DROP DATABASE {name}")
        await server.close()


async def test_a_search_path_without_a_schema_is_refused(session: Connection, database_dsn: str) -> None:
    await session.execute("SET search_path = nowhere")
    with pytest.raises(StartError, match=r"has no schema of search_path \(nowhere\)"):
        await settle(session, database_dsn)


async def test_a_new_schema_in_front_of_an_installation_is_refused(session: Connection, database_dsn: str) -> None:
    await session.execute('CREATE SCHEMA "In front"')
    await session.execute('SET search_path = "In front", public')
    with pytest.raises(StartError, match=r'begins with the schema "In front", which has no tables.* but public has'):
        await settle(session, database_dsn)


async def test_row_level_security_that_hides_rows_is_refused(session: Connection, database_dsn: str) -> None:
    await session.execute("ALTER TABLE projections ENABLE ROW LEVEL SECURITY")
    await settle(session, database_dsn)  # the owner sees every row
    await session.execute("ALTER TABLE projections FORCE ROW LEVEL SECURITY")
    with pytest.raises(StartError, match="Row-level security hides rows of projections"):
        await settle(session, database_dsn)
    # One that is added later hides nothing either.
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await session.fetch("SELECT key FROM projections")


async def test_a_pooler_that_drops_settings_is_refused(connection: Connection, database_dsn: str) -> None:
    with pytest.raises(StartError, match=r"drops session settings \(.*row_security.*\)"):
        await settle(connection, database_dsn)


async def test_a_standby_counts_as_unavailable(session: Connection) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as raised:
        async with session.transaction(readonly=True):
            await outbox.accept(session, [event(1)])
    assert databases.is_away(raised.value)


async def test_every_table_is_known(connection: Connection) -> None:
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    assert {row["relname"] for row in tables} == set(table_names())


async def test_the_embedded_server_is_reached_whatever_the_environment_demands_of_others(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", "/nowhere.pem")
    databases.drop(await databases.connect(postgres_dsn, timeout_seconds=10))
