"""Installations with an owner and roles of their own, in the server that the tests share."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from tables.database import Connection
from tables.migrate import migrate
from tables.roles import statements
from tables.roles.grants import ROLE_NAMES, RoleName

from tests.support.servers.fresh import database_url

BESIDE: Mapping[RoleName, RoleName] = {
    "ingest": "access",
    "project": "access",
    "query": "access",
    "operate": "administer",
}
"""The other role that the user of a role has, as docs/roles.md recommends."""
_numbers = itertools.count(1)


def as_user(dsn: str, user: str) -> str:
    """The same address with another user, who needs no password here."""
    return urlsplit(dsn)._replace(netloc=f"{user}@").geturl()


class Installation(NamedTuple):
    """A migrated database with roles, and for each of them a user who is its member."""

    superuser_dsn: str
    owner: str
    prefix: str

    @property
    def owner_dsn(self) -> str:
        """The address for the owner of the database."""
        return as_user(self.superuser_dsn, self.owner)

    def dsn(self, role: RoleName) -> str:
        """The address for the user with this role."""
        return as_user(self.superuser_dsn, f"{self.prefix}_{role}_user")


@asynccontextmanager
async def installation(postgres_dsn: str) -> AsyncIterator[Installation]:
    """A new installation; it is removed with its roles."""
    number = next(_numbers)
    name, prefix = f"roles_{os.getpid()}_{number}", f"r{os.getpid()}_{number}"
    owner = f"{prefix}_owner"
    server: Connection = await asyncpg.connect(as_user(postgres_dsn, "postgres"))
    made = Installation(as_user(database_url(postgres_dsn, name), "postgres"), owner, prefix)
    users = [f"{prefix}_{role}_user" for role in ROLE_NAMES]
    try:
        await server.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE")
        await server.execute(f"CREATE DATABASE {name} OWNER {owner}")
        connection: Connection = await asyncpg.connect(made.owner_dsn)
        await migrate(connection)
        await statements.execute(connection, prefix)
        for role, user in zip(ROLE_NAMES, users, strict=True):
            await connection.execute(f"CREATE ROLE {user} LOGIN")
            await connection.execute(f"GRANT {prefix}_{role} TO {user}")
            if beside := BESIDE.get(role):
                await connection.execute(f"GRANT {prefix}_{beside} TO {user}")
        await connection.close()
        yield made
    finally:
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        for name in [*users, *statements.role_names(prefix).values(), owner]:
            await server.execute(f"DROP ROLE IF EXISTS {name}")
        await server.close()
