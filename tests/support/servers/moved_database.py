"""What operators do to a database: they copy it, put an older copy in its place, or make it another installation."""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg

from tests.support.servers.fresh import COPIED, database_url
from tests.support.waiting import until

SECONDS = 60.0
NEW_INSTALLATION = """
UPDATE installation SET
    id = substring(uuid_send(gen_random_uuid()) FROM 9),
    secret = uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
"""


async def become_another(dsn: str) -> None:
    """Make the database an installation of its own: tests clone all of theirs from one template."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(NEW_INSTALLATION)
    finally:
        await connection.close()


async def copied(dsn: str) -> str:
    """A copy of the database beside it, which nobody may use meanwhile."""
    name = f"{_name(dsn)}_copy"
    await _replaced(dsn, name, template=_name(dsn))
    return database_url(dsn, name)


async def put_back(dsn: str, copy: str) -> None:
    """Put the copy in the place of the database. Whoever is connected is disconnected."""
    await _replaced(dsn, _name(dsn), template=_name(copy))


async def dropped(dsn: str) -> None:
    """Remove a copy."""
    await _execute(dsn, f"DROP DATABASE IF EXISTS {_name(dsn)}")


def _name(dsn: str) -> str:
    return urlsplit(dsn).path.removeprefix("/")


async def _replaced(dsn: str, name: str, *, template: str) -> None:
    async def is_done() -> bool:
        try:
            await _execute(dsn, f"DROP DATABASE IF EXISTS {name}")
            await _execute(dsn, f"CREATE DATABASE {name} TEMPLATE {template} {COPIED}")
        except asyncpg.ObjectInUseError:
            users = f"datname IN ('{name}', '{template}') AND usename = current_user"
            await _execute(dsn, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {users}")
            return False
        return True

    await until(is_done, SECONDS, f"{name} or {template} is in use")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url(dsn, "postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
