"""Whether the disk of PostgreSQL is full: seen by a failure, told to the other workers, probed until it has room.

PostgreSQL refuses to make a table larger on a full disk, which harms nothing (53100). To make its log (WAL) larger it
must not fail: it panics, and cannot start before there is room. A DELETE needs no more of a table, but of the log. So
once a statement was refused, nobody writes until a probe finds room.
"""

from __future__ import annotations

import asyncio

import asyncpg

from headrace.errors import DependencyAwayError
from tables.database import AnyConnection
from tables.lock_keys import LockKey

# A lock, because it is told to all workers without a write, and ends with the session that holds it.
TELL = "SELECT pg_try_advisory_lock($1)"
IS_TOLD = "SELECT NOT pg_try_advisory_xact_lock_shared($1)"
# Temporary files are the one thing that can be tried without the log: a query that holds 48 MB, three files of it.
PREPARE_PROBE = "SET work_mem = '64kB'; SET temp_tablespaces = ''"
PROBE = """
WITH held AS MATERIALIZED (SELECT repeat('x', 1024) || n AS text FROM generate_series(1, 48 * 1024) AS n)
SELECT count(*) FROM held
"""


class DatabaseFullError(DependencyAwayError):
    """The disk of the database is full."""


class DiskSpace:
    """What one worker knows; its writers ask it, and tell it what they saw."""

    def __init__(self) -> None:
        self.seen_here = False
        """Whether a statement of this worker was refused, and no probe has found room since."""
        self._room = asyncio.Event()
        self._room.set()
        self._trouble = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether nobody shall write now."""
        return not self._room.is_set()

    def saw(self, error: BaseException) -> None:
        """Note an error of a statement; only that of a full disk counts."""
        if isinstance(error, asyncpg.DiskFullError):
            self.notice()

    def notice(self) -> None:
        """Nobody shall write, and the others shall be told."""
        self.seen_here = True
        self.fill()
        self._trouble.set()

    def fill(self) -> None:
        """Nobody shall write."""
        self._room.clear()

    def clear(self) -> None:
        """There is room."""
        self.seen_here = False
        self._trouble.clear()
        self._room.set()

    async def room(self) -> None:
        """Wait until there is room; at once as a rule."""
        await self._room.wait()

    async def trouble(self) -> None:
        """Wait until a statement of this worker was refused."""
        await self._trouble.wait()


async def tell(connection: AnyConnection) -> None:
    """Let the other workers know, for as long as the connection lives."""
    await connection.fetchval(TELL, LockKey.DISK_IS_FULL)


async def is_told(connection: AnyConnection) -> bool:
    """Whether a worker says that the disk is full."""
    told: bool = await connection.fetchval(IS_TOLD, LockKey.DISK_IS_FULL)
    return told


async def has_room(connection: AnyConnection) -> bool:
    """Whether 48 MB more fit on the disk. Writes temporary files only; the connection must be the caller's own."""
    await connection.execute(PREPARE_PROBE)
    try:
        await connection.execute(PROBE)
    except asyncpg.DiskFullError:
        return False
    except asyncpg.ConfigurationLimitExceededError:
        return True  # temp_file_limit forbids to look: the next event decides
    return True
