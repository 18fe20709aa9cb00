"""Connections to PostgreSQL: every one with timeouts, and one place that tells "away" from "wrong"."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import asyncpg
from asyncpg import exceptions as pg

from headrace.errors import DependencyAwayError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
PooledConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
PoolAcquireContext: TypeAlias = "asyncpg.pool.PoolAcquireContext[asyncpg.Record]"
AnyConnection: TypeAlias = "Connection | PooledConnection"

# An answer that says "committed" must survive a crash of the server, whatever its configuration says.
SERVER_SETTINGS = {"application_name": "headrace", "synchronous_commit": "on", "timezone": "UTC"}
# A peer that vanished is noticed in seconds, so that its locks are given back (no effect on Unix sockets).
KEEPALIVES = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}

HEARTBEAT = "SELECT 1"

# What a server says when it is starting, stopping, full or overloaded: the same request may succeed later.
_AWAY = (
    DependencyAwayError,
    OSError,
    asyncio.TimeoutError,
    pg.PostgresConnectionError,
    pg.InterfaceError,
    pg.InternalClientError,
    pg.OperatorInterventionError,
    pg.InsufficientResourcesError,
    pg.TransactionRollbackError,
    pg.LockNotAvailableError,
    pg.IdleInTransactionSessionTimeoutError,
)


def is_away(error: BaseException) -> bool:
    """Whether this error says that PostgreSQL cannot do it now: what was asked is worth another try."""
    return isinstance(error, _AWAY)


def can_hold(text: str) -> bool:
    """Whether PostgreSQL can take this text: no NUL, no lone surrogates."""
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


class _PlainConnection(asyncpg.Connection):
    """Goes back to the pool as it is: nothing here changes a session, and a reset is a round trip each time."""

    def get_reset_query(self) -> str:
        return ""


class Database:
    """A pool whose address may become known later; until it is opened, PostgreSQL counts as away."""

    def __init__(self, *, pool_size: int, timeout_seconds: float) -> None:
        self._pool_size = pool_size
        self._timeout_seconds = timeout_seconds
        self._opened: tuple[str, Pool] | None = None

    async def open(self, dsn: str) -> None:
        """Open the pool; its connections are made when they are needed."""
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=self._pool_size,
            timeout=self._timeout_seconds,
            command_timeout=self._timeout_seconds,
            server_settings=SERVER_SETTINGS | KEEPALIVES,
            connection_class=_PlainConnection,
        )
        self._opened = dsn, pool

    def close(self) -> None:
        """Drop the pool's connections."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].terminate()

    @property
    def dsn(self) -> str:
        """The address, for connections of one's own. Raises DependencyAwayError before it is known."""
        if self._opened is None:
            raise DependencyAwayError("PostgreSQL is not ready yet.")
        return self._opened[0]

    def acquire(self) -> PoolAcquireContext:
        """`async with database.acquire() as connection`. Raises what `is_away` knows."""
        if self._opened is None:
            raise DependencyAwayError("PostgreSQL is not ready yet.")
        return self._opened[1].acquire(timeout=self._timeout_seconds)

    async def answers(self) -> None:
        """Return when PostgreSQL answers. Raises what `is_away` knows."""
        async with self.acquire() as connection:
            await connection.execute(HEARTBEAT)


async def connect(
    dsn: str, *, timeout_seconds: float, command_seconds: float | None = None, idle_seconds: float = 0
) -> Connection:
    """One connection of its own, whose statements may take as long as connecting, or `command_seconds`.

    With `idle_seconds` the server ends it, and gives its locks back, when it has heard nothing for that long. Raises
    what `is_away` knows when the server does not answer in time.
    """
    idle = {"idle_session_timeout": f"{idle_seconds * 1000:.0f}"} if idle_seconds else {}
    connection: Connection = await asyncpg.connect(
        dsn,
        timeout=timeout_seconds,
        command_timeout=command_seconds or timeout_seconds,
        server_settings=SERVER_SETTINGS | KEEPALIVES | idle,
    )
    return connection


def drop(connection: AnyConnection) -> None:
    """Close without a word to the server, which may not be listening any more."""
    connection.terminate()
