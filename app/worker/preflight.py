"""What a worker needs, checked before it listens, downloads, starts a server or migrates: ports, folders and rights."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

import asyncpg
from mode import Service

from headrace.errors import StartError, StartProblemsError
from tables import database
from tables.refusals import refusal
from tables.rights import lacking_rights
from tables.roles.grants import RoleName
from tables.session import settle

# A server that does not answer in this time is away: it is waited for, and checked when it is used.
CHECK_SECONDS = 3.0

Check = Callable[[], Awaitable[Sequence[str]]]
"""Says what is wrong, where, and what to do; usually nothing."""


class Preflight(Service):
    """Runs all checks at the same time, so that everything that is wrong is reported together."""

    def __init__(self, checks: Sequence[Check], passed: Callable[[], None]) -> None:
        """`passed`: called when nothing is wrong."""
        super().__init__()
        self._checks = checks
        self._passed = passed

    async def on_start(self) -> None:
        """Raises StartProblemsError if anything is wrong."""
        found = await asyncio.gather(*(check() for check in self._checks))
        if problems := [problem for problems in found for problem in problems]:
            raise StartProblemsError(problems)
        self._passed()


async def postgres_problems(variable: str, dsn: str, roles: Collection[RoleName]) -> Sequence[str]:
    """Why services that need these roles cannot use the PostgreSQL of this variable; nothing if it is away."""
    return [problem.replace("DATABASE_URL", variable) for problem in await _problems(dsn, roles)]


async def _problems(dsn: str, roles: Collection[RoleName]) -> Sequence[str]:
    try:
        connection = await database.connect(dsn, timeout_seconds=CHECK_SECONDS)
    except Exception as error:
        if refused := refusal(error, dsn):
            return [str(refused)]
        if not database.is_away(error):
            raise
        return []
    try:
        await settle(connection, dsn)
        return await lacking_rights(connection, roles)
    except StartError as error:
        return [str(error)]
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if not database.is_away(error):
            raise
        return []
    finally:
        with suppress(OSError):
            database.drop(connection)
