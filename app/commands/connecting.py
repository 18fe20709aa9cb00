"""The servers that a command needs: those of the settings, or embedded servers, started for the command's duration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from app.commands.terminal import say
from app.embedded.servers import EmbeddedServers
from app.environment import environment
from app.near_misses import NO_SETTING, near_misses
from app.settings import Settings, data_folder
from app.worker.faust_app import refuse
from headrace.errors import DependencyAwayError, HeadraceError, StartError
from tables import database
from tables.database import Connection, Database
from tables.refusals import refusal
from tables.session import settle

CONNECT_SECONDS = 10.0

Result = TypeVar("Result")


def run(command: Coroutine[Any, Any, Result]) -> Result:
    """Run a command and return its result; for an expected error, print one line and exit with code 1."""
    try:
        return asyncio.run(command)
    except HeadraceError as error:
        refuse(error)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        refuse(StartError(f"The database schema is not that of this version ({error}): run faust -A app migrate."))
    except asyncpg.InsufficientPrivilegeError as error:
        refuse(
            StartError(f"PostgreSQL refuses: {error}. Set DATABASE_URL to an address whose role may: docs/roles.md.")
        )
    except Exception as error:
        if not database.is_away(error):
            raise
        refuse(DependencyAwayError(f"PostgreSQL does not answer: {error!r}"))


@asynccontextmanager
async def postgres(settings: Settings) -> AsyncIterator[str]:
    """The address of PostgreSQL; the embedded one is started if none is set. Raises HeadraceError.

    Variables that resemble a setting are named first, because a command could work on the wrong database.
    """
    for name, meant in near_misses(environment()):
        say(NO_SETTING.format(name=name, meant=meant), err=True)
    if settings.database_url:
        yield settings.database_url
        return
    if settings.has_own_databases:
        raise StartError(
            "Commands use DATABASE_URL, which is empty, while services have addresses of their own: set it."
        )
    servers = EmbeddedServers(data_folder(settings))
    try:
        yield await servers.start_postgres()
    finally:
        await servers.stop()


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Connection]:
    """A connection to the database. Raises HeadraceError; if the database does not answer, DependencyAwayError."""
    async with postgres(settings) as dsn:
        connection = await connect(dsn)
        try:
            yield connection
        finally:
            database.drop(connection)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """A pool of 2 connections. Raises HeadraceError; if the database does not answer, DependencyAwayError."""
    async with postgres(settings) as dsn:
        connection, settled = await _settled(dsn, CONNECT_SECONDS)
        database.drop(connection)
        pool = Database(pool_size=2, timeout_seconds=settings.database_timeout_seconds)
        await pool.open(settled)
        try:
            yield pool
        finally:
            pool.close()


@asynccontextmanager
async def embedded_kafka(settings: Settings, *, wanted: bool) -> AsyncIterator[None]:
    """The embedded Kafka runs meanwhile, if it is wanted. Raises HeadraceError."""
    if not wanted:
        yield
        return
    servers = EmbeddedServers(data_folder(settings), kafka_port=settings.embedded_kafka_port)
    try:
        await servers.start_kafka()
        yield
    finally:
        await servers.stop()


async def connect(dsn: str, *, command_seconds: float = CONNECT_SECONDS) -> Connection:
    """A connection whose statements time out after `command_seconds`. Raises DependencyAwayError and StartError."""
    connection, _ = await _settled(dsn, command_seconds)
    return connection


async def _settled(dsn: str, command_seconds: float) -> tuple[Connection, str]:
    """A connection to a database that can be used, and the address for others like it."""
    try:
        connection = await database.connect(dsn, timeout_seconds=CONNECT_SECONDS, command_seconds=command_seconds)
    except Exception as error:
        if refused := refusal(error, dsn):
            raise refused from error
        if not database.is_away(error) and not isinstance(error, asyncpg.PostgresError):
            raise
        raise DependencyAwayError(f"PostgreSQL does not answer: {error}. Check DATABASE_URL.") from error
    try:
        return connection, await settle(connection, dsn)
    except BaseException:
        database.drop(connection)
        raise
