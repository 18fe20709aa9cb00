"""Connections to PostgreSQL, all with timeouts, and the one rule for which errors mean that it is unavailable."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Literal, NamedTuple, TypeAlias

import asyncpg
from asyncpg import exceptions as pg

from headrace.errors import DependencyAwayError
from tables import array_parameters

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
PooledConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
AnyConnection: TypeAlias = "Connection | PooledConnection"

# Sent with every connection, so that no default of the database or the role applies; see tables/session.py for more.
SERVER_SETTINGS = {
    "application_name": "headrace",
    # A commit that was reported must survive a crash of the server.
    "synchronous_commit": "on",
    # outbox_accept_group checks the store in a later snapshot, and a write that waited for a lock reads again.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    # An error instead of rows that a policy hides.
    "row_security": "off",
    # A value that is refused must not end the session: halves of a group are tried on the same one.
    "exit_on_error": "off",
    # Statements have time-outs of the client's, each its own; migrations and indexes need hours.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # What texts mean, and how values are written as texts.
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
# The server detects a dead client within seconds and releases its locks (no effect on Unix sockets).
KEEPALIVES = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}

HEARTBEAT = "SELECT 1"

array_parameters.quicken()

Share = Literal["door", "rows", "work", "reads"]
"""What a connection is for: accepting events; single rows, status and health; projectors and watches; and reads whose
cost grows with the tables. A worker's connections are divided, so that no share uses those of another."""
READ_SECONDS = 4.0
"""The server itself ends a statement of the share `reads` after this time."""
READ_WAIT_SECONDS = 2.0
"""A read is refused that has no connection after this time."""
# Sequential scans of a few clients must not take every core with parallel workers.
READ_SETTINGS = {"statement_timeout": f"{READ_SECONDS * 1000:.0f}", "max_parallel_workers_per_gather": "0"}

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
    pg.ReadOnlySQLTransactionError,  # a standby that was the primary, or is about to be
    pg.IdleInTransactionSessionTimeoutError,
    # A password that is being changed, a database that is being moved; see tables/refusals.py for a start.
    pg.InvalidAuthorizationSpecificationError,
    pg.InvalidCatalogNameError,
)

TIMED_OUT = (TimeoutError, pg.QueryCanceledError)
"""A statement took too long: here, or by the server's own limit."""


class ReadsBusyError(DependencyAwayError):
    """All connections for expensive reads were busy for too long; try again later."""


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


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot hold: what cannot be stored would be tried again and again."""
    return text if can_hold(text) else text.replace("\0", "\ufffd").encode(errors="replace").decode()


class _PlainConnection(asyncpg.Connection):
    """A connection without a reset on release, which would cost a round trip; nothing here changes session state."""

    def get_reset_query(self) -> str:
        return ""


class Sizes(NamedTuple):
    """How a worker's connections are divided."""

    door: int
    """0: the door has no connection of its own, because there are too few."""
    common: int
    """For rows and work; each may hold all but one of them."""
    reads: int

    @classmethod
    def of(cls, pool_size: int) -> Sizes:
        """A quarter for reads, one for the door, which writes one group at a time, and the rest for all others."""
        reads = max(pool_size // 4, 1)
        door = int(pool_size > reads + 1)
        return cls(door, max(pool_size - reads - door, 1), reads)


class _Acquired:
    """A pooled connection within a share's limit, as a context manager."""

    __slots__ = ("_connection", "_pool", "_seconds", "_slots")

    def __init__(self, pool: Pool, slots: _Slots | None, seconds: float) -> None:
        self._pool = pool
        self._slots = slots
        self._seconds = seconds

    async def __aenter__(self) -> PooledConnection:
        if self._slots is not None:
            await self._slots.take(self._seconds)
        try:
            self._connection: PooledConnection = await self._pool.acquire(timeout=self._seconds)
        except BaseException:
            if self._slots is not None:
                self._slots.release()
            raise
        return self._connection

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        try:
            await self._pool.release(self._connection)
        finally:
            if self._slots is not None:
                self._slots.release()


class _Slots(asyncio.Semaphore):
    """The connections that a share may hold. Those that wait are served in order of arrival."""

    async def take(self, seconds: float) -> None:
        """Raises TimeoutError when none becomes free in time."""
        if not self.locked():
            await self.acquire()
            return
        async with asyncio.timeout(seconds):
            await self.acquire()


class _ReadSlots(_Slots):
    async def take(self, seconds: float) -> None:
        """Raises ReadsBusyError, because the server is not at fault."""
        try:
            await super().take(min(seconds, READ_WAIT_SECONDS))
        except TimeoutError:
            raise ReadsBusyError from None


class _Opened(NamedTuple):
    dsn: str
    pools: dict[Share, Pool]


class Database:
    """Connections that can be opened later; until then, PostgreSQL counts as unavailable.

    They are divided into shares: clients that keep all connections for reads busy stop neither posts nor projectors.
    """

    def __init__(self, *, pool_size: int, timeout_seconds: float) -> None:
        self._sizes = Sizes.of(pool_size)
        self._timeout_seconds = timeout_seconds
        self._opened: _Opened | None = None
        self._slots: dict[Share, _Slots] = {}

    async def open(self, dsn: str) -> None:
        """Open the pools; connections are created on demand."""
        sizes = self._sizes
        common = await self._pool(dsn, sizes.common)
        door = await self._pool(dsn, sizes.door) if sizes.door else common
        reads = await self._pool(dsn, sizes.reads, READ_SETTINGS)
        # Semaphores belong to an event loop, as the pools do.
        self._slots = {
            "rows": _Slots(max(sizes.common - 1, 1)),
            "work": _Slots(max(sizes.common - 1, 1)),
            "reads": _ReadSlots(sizes.reads),
        }
        self._opened = _Opened(dsn, {"door": door, "rows": common, "work": common, "reads": reads})

    async def _pool(self, dsn: str, size: int, settings: dict[str, str] | None = None) -> Pool:
        return await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=size,
            timeout=self._timeout_seconds,
            command_timeout=self._timeout_seconds,
            server_settings=SERVER_SETTINGS | KEEPALIVES | (settings or {}),
            connection_class=_PlainConnection,
        )

    def close(self) -> None:
        """Terminate the connections; a database that is not open is ignored."""
        opened, self._opened = self._opened, None
        if opened is not None:
            for pool in opened.pools.values():
                pool.terminate()

    @property
    def dsn(self) -> str:
        """The address, for connections outside the pool. Raises DependencyAwayError before the pool is open."""
        if self._opened is None:
            raise DependencyAwayError("PostgreSQL is not ready yet.")
        return self._opened.dsn

    def acquire(self, share: Share = "work") -> _Acquired:
        """A context manager for a connection. Raises an error that `is_away` accepts on failure or timeout."""
        if self._opened is None:
            raise DependencyAwayError("PostgreSQL is not ready yet.")
        return _Acquired(self._opened.pools[share], self._slots.get(share), self._timeout_seconds)

    async def answers(self) -> None:
        """Return when PostgreSQL has answered a query. Raises an error that `is_away` accepts if it does not."""
        async with self.acquire("rows") as connection:
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
