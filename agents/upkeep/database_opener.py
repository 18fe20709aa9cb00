"""Migrates the database, then opens the connection pool that the whole worker uses."""

from __future__ import annotations

import asyncio

import asyncpg

from agents.background import Background
from headrace.errors import StartError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.parts import OK, Condition
from tables import database
from tables.database import Database
from tables.migrate import migrate
from tables.refusals import no_rights, refusal
from tables.rights import may_alter
from tables.session import place_of_installation, settle

CONNECT_SECONDS = 5.0
START_WAIT_SECONDS = 5.0

log = ActionLog(__name__)


class OneInstallation:
    """Sees to it that all addresses of a worker lead to one installation: a service must not read another's tables."""

    def __init__(self) -> None:
        self._first: tuple[str, str] | None = None

    def check(self, variable: str, place: str) -> None:
        """Raises StartError for another place than the first."""
        if self._first is None:
            self._first = variable, place
        other, known = self._first
        if place != known:
            raise StartError(
                f"{other} and {variable} lead to different installations ({known}; {place}). Let both name the same "
                "database, and the same schema with options=-csearch_path%3D…"
            )


class DatabaseOpener(Background):
    """Checks the database, migrates it, then opens the pool; until then, its uses raise DependencyAwayError."""

    def __init__(
        self,
        source: Database,
        dsn: str,
        variable: str = "DATABASE_URL",
        *,
        one: OneInstallation | None = None,
        is_embedded: bool = False,
    ) -> None:
        """`variable`: the setting that has the address. No warning of the rights of the embedded server's role."""
        super().__init__()
        self._dsn = dsn
        self._variable = variable
        self._one = one or OneInstallation()
        self._is_embedded = is_embedded
        self._source = source
        self._opened = asyncio.Event()
        self._stop = asyncio.Event()

    def condition(self) -> Condition:
        """Whether the database has been migrated and opened."""
        return OK if self._opened.is_set() else Condition("starting", "does not answer yet")

    def set_dsn(self, dsn: str) -> None:
        """Set the address, for an embedded server whose address is known only after its start."""
        self._dsn = dsn

    async def on_started(self) -> None:
        """Wait a few seconds for the database before the next service starts; continue without it after that."""
        try:
            async with asyncio.timeout(START_WAIT_SECONDS):
                await self._opened.wait()
        except TimeoutError:
            text = "PostgreSQL does not answer yet; requests get 503 until it does"
            log.warning(LogAction.POSTGRES_UNAVAILABLE, text)

    def wake(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        connection = await self._connect()
        try:
            dsn = await settle(connection, self._dsn)
            for name in await migrate(connection):
                log.info(LogAction.MIGRATION_APPLIED, "Applied migration {migration}", migration=name)
            self._one.check(self._variable, await place_of_installation(connection))
            await self._warn_of_power(connection)
        except asyncpg.InsufficientPrivilegeError as error:
            raise no_rights(error) from error
        finally:
            database.drop(connection)
        await self._source.open(dsn)
        self._opened.set()
        await self._stop.wait()

    async def _warn_of_power(self, connection: database.Connection) -> None:
        if self._is_embedded or self._opened.is_set() or not await may_alter(connection, "event_store"):
            return
        log.warning(
            LogAction.ROLE_TOO_POWERFUL,
            "The role of {variable} may alter the event store, which services need not: use roles with fewer rights; "
            "docs/roles.md describes how, in ten lines",
            variable=self._variable,
        )

    async def _connect(self) -> database.Connection:
        """Connect. Raises StartError if PostgreSQL refuses that: then waiting does not help."""
        try:
            return await database.connect(self._dsn, timeout_seconds=CONNECT_SECONDS)
        except Exception as error:
            if refused := refusal(error, self._dsn):
                raise refused from error
            raise

    async def on_stop(self) -> None:
        await super().on_stop()
        self._source.close()
