"""Whether the disk of PostgreSQL is full: detected by an error, announced to other workers, probed for space.

On a full disk PostgreSQL refuses to extend a table (error 53100), which does no harm. If it cannot extend its log
(WAL), it panics and does not start until there is space. Even a DELETE needs space in the log. So after the first such
error nobody writes until a probe finds space.
"""

from __future__ import annotations

import asyncio

import asyncpg

from headrace.errors import DependencyAwayError
from tables.database import AnyConnection
from tables.lock_keys import LockKey

# An advisory lock, because it reaches all workers without a write and ends with its session.
ANNOUNCE = "SELECT pg_try_advisory_lock($1)"
IS_ANNOUNCED = "SELECT NOT pg_try_advisory_xact_lock_shared($1)"
# Only temporary files can be written without the log: the query spills 48 MB, as much as three log files.
PREPARE_PROBE = "SET work_mem = '64kB'; SET temp_tablespaces = ''"
PROBE = """
WITH held AS MATERIALIZED (SELECT repeat('x', 1024) || n AS text FROM generate_series(1, 48 * 1024) AS n)
SELECT count(*) FROM held
"""


class DatabaseFullError(DependencyAwayError):
    """The disk of the database is full."""


class DiskSpace:
    """What this worker knows about the disk. Its writers report errors here, and wait here before they write."""

    def __init__(self) -> None:
        self.reported_here = False
        """Whether this worker detected the full disk, and no probe has found space since."""
        self._has_space = asyncio.Event()
        self._has_space.set()
        self._reported = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether the disk is full, so that nothing may be written."""
        return not self._has_space.is_set()

    def note_error(self, error: BaseException) -> None:
        """Report the disk as full if that is what the error of a statement says; ignore other errors."""
        if isinstance(error, asyncpg.DiskFullError):
            self.report_full()

    def report_full(self) -> None:
        """Mark the disk as full, and let this worker announce it to the others."""
        self.reported_here = True
        self.mark_full()
        self._reported.set()

    def mark_full(self) -> None:
        """Mark the disk as full, as announced by another worker."""
        self._has_space.clear()

    def mark_free(self) -> None:
        """Mark the disk as having space."""
        self.reported_here = False
        self._reported.clear()
        self._has_space.set()

    async def wait_for_space(self) -> None:
        """Return when the disk has space, usually immediately."""
        await self._has_space.wait()

    async def wait_for_report(self) -> None:
        """Return when this worker has detected a full disk."""
        await self._reported.wait()


async def announce(connection: AnyConnection) -> None:
    """Announce to other workers that the disk is full, for as long as the connection is open."""
    await connection.fetchval(ANNOUNCE, LockKey.DISK_IS_FULL)


async def is_announced(connection: AnyConnection) -> bool:
    """Whether a worker has announced that the disk is full."""
    announced: bool = await connection.fetchval(IS_ANNOUNCED, LockKey.DISK_IS_FULL)
    return announced


async def has_space(connection: AnyConnection) -> bool:
    """Whether 48 MB fit on the disk. Writes temporary files only, and changes settings of the connection."""
    await connection.execute(PREPARE_PROBE)
    try:
        await connection.execute(PROBE)
    except asyncpg.DiskFullError:
        return False
    except asyncpg.ConfigurationLimitExceededError:
        return True  # temp_file_limit prevents the probe: let the next statement decide
    return True
