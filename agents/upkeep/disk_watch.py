"""Stops all writing while the disk of PostgreSQL is full, in all workers, and probes until there is space.

Guarantee: within about a second after a statement of any worker failed for lack of space, ingestion, relays and
projectors of all workers stop writing until a probe finds space. For the embedded server, whose folder is visible,
that happens before any statement fails: when less than RESERVE_BYTES are free.

Not covered: a server whose log (WAL) shares a disk that is not visible. PostgreSQL may need space for the log first,
and then it panics. Accepted events are still there when it is restarted with free space.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from agents.background import Background
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from tables import database
from tables.database import Database
from tables.intake import disk_space
from tables.intake.disk_space import DiskSpace

POLL_SECONDS = 1.0
# More than is written between two polls, and enough for recovery, which needs some log files of 16 MB.
RESERVE_BYTES = 128 * 1024 * 1024
PROBE_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0

HAS_SPACE = "The disk of PostgreSQL has space again; writing resumes"

log = ActionLog(__name__)


class DiskWatch(Background):
    """Runs in every worker that writes. The worker whose statement failed probes; the others poll for its lock."""

    cancel_on_stop = True

    def __init__(self, source: Database, space: DiskSpace, folder: Path | None = None) -> None:
        """`folder` is PostgreSQL's data directory, if it is on this machine."""
        super().__init__()
        self._folder = folder
        self._source = source
        self._space = space
        self._stop = asyncio.Event()

    def wake(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        while not self.should_stop:
            if self._space.reported_here:
                await self._probe_until_there_is_space()
            else:
                await self._poll()
                await self._wait(POLL_SECONDS, or_full=True)

    async def _poll(self) -> None:
        if not self._has_reserve():
            self._space.report_full()
            return
        async with self._source.acquire() as connection:
            announced = await disk_space.is_announced(connection)
        if self._space.reported_here:
            return  # reported during the query
        if announced and not self._space.is_full:
            self._space.mark_full()
            text = "Another worker reports that the disk of PostgreSQL is full; not writing until it has space"
            log.error(LogAction.DISK_FULL, text)
        elif not announced and self._space.is_full:
            self._space.mark_free()
            log.info(LogAction.DISK_FREED, HAS_SPACE)

    async def _probe_until_there_is_space(self) -> None:
        connection = await database.connect(self._source.dsn, timeout_seconds=TIMEOUT_SECONDS)
        text = "The disk of PostgreSQL is full: no events are accepted and nothing is written until it has space"
        log.error(LogAction.DISK_FULL, text)
        try:
            await disk_space.announce(connection)
            while not (self._has_reserve() and await disk_space.has_space(connection)):
                await self._wait(PROBE_SECONDS)
                if self.should_stop:
                    return
            self._space.mark_free()
            log.info(LogAction.DISK_FREED, HAS_SPACE)
        finally:
            database.drop(connection)

    def _has_reserve(self) -> bool:
        if self._folder is None or not self._folder.exists():
            return True
        return shutil.disk_usage(self._folder).free >= RESERVE_BYTES

    async def _wait(self, seconds: float, *, or_full: bool = False) -> None:
        waits = [self._stop.wait(), *([self._space.wait_for_report()] if or_full else [])]
        tasks = [asyncio.ensure_future(one) for one in waits]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
