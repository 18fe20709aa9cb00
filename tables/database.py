"""Connections to PostgreSQL, all with timeouts, and the one rule for which errors mean that it is unavailable."""

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

# A commit that was reported must survive a crash of the server, whatever its configuration says.
SERVER_SETTINGS = {"application_name": "headrace", "synchronous_commit": "on", "timezone": "UTC"}
# The server detects a dead client within seconds and releases its locks (no effect on Unix sockets).
KEEPALIVES = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}

HEARTBEAT = "SELECT 1"

# Errors of a server that is starting, stopping, full or overloaded: the same request may succeed later.
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
    """Whether this error means that PostgreSQL is unavailable or busy, so that a retry is worthwhile."""
    return isinstance(error, _AWAY)


def can_hold(text: str) -> bool:
    """Whether PostgreSQL can store this text: it has no NUL and no lone surrogates."""
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


class _PlainConnection(asyncpg.Connection):
    """A connection without a reset on release, which would cost a round trip; nothing here changes session state."""

    def get_reset_query(self) -> str:
        return ""


class Database:
    """A connection pool that can be opened later; until then, PostgreSQL counts as unavailable."""

    def __init__(self, *, pool_size: int, timeout_seconds: float) -> None:
        self._pool_size = pool_size
        self._timeout_seconds = timeout_seconds
        self._opened: tuple[str, Pool] | None = None

    async def open(self, dsn: str) -> None:
        """Open the pool; connections are created on demand."""
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
        """Terminate the pool's connections; a pool that is not open is ignored."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].terminate()

    @property
    def dsn(self) -> str:
        """The address, for connections outside the pool. Raises DependencyAwayError before the pool is open."""
        if self._opened is None:
            raise DependencyAwayError("PostgreSQL is not ready yet.")
        return self._opened[0]

    def acquire(self) -> PoolAcquireContext:
        """A context manager for a pooled connection. Raises an error that `is_away` accepts on failure or timeout."""
        if self._opened is None:
            raise DependencyAwayError("PostgreSQL is not ready yet.")
        return self._opened[1].acquire(timeout=self._timeout_seconds)

    async def answers(self) -> None:
        """Return when PostgreSQL has answered a query. Raises an error that `is_away` accepts if it does not."""
        async with self.acquire() as connection:
            await connection.execute(HEARTBEAT)


async def connect(
    dsn: str, *, timeout_seconds: float, command_seconds: float | None = None, idle_seconds: float = 0
) -> Connection:
    """Open a connection outside the pool; its statements time out after `command_seconds` or `timeout_seconds`.

    With `idle_seconds`, the server ends the session and releases its locks when it was idle for that long. Raises an
    error that `is_away` accepts if the server does not answer in time.
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
    """Close the connection without a message to the server, which may be unreachable."""
    connection.terminate()
