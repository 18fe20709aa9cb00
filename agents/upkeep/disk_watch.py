"""When the disk of PostgreSQL is full: tells every worker of the database, probes, and tells when there is room.

Guarantee: within about a second after one worker's statement was refused for want of room, no door, relay or projector
writes, in no worker, until a probe has found room. Where the server's folder can be seen, because it is the embedded
one, that happens before anything is refused: when less than RESERVE_BYTES are free.

Not promised: that PostgreSQL itself survives where its log (WAL) shares the disk and cannot be seen. It may need room
for the log before it needs it for a table, and then it panics. What was accepted is there when it is started with room.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

from agents.background import Background
from tables import database
from tables.database import Database
from tables.intake import disk_space
from tables.intake.disk_space import DiskSpace

LOOK_SECONDS = 1.0
# Files of the log have 16 MB, and the end of a recovery needs some; more than is written between two looks.
RESERVE_BYTES = 128 * 1024 * 1024
PROBE_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0

log = logging.getLogger(__name__)


class DiskWatch(Background):
    """Runs in every worker that writes; the one that saw the trouble probes, the others ask it."""

    only_looks = True

    def __init__(self, source: Database, space: DiskSpace, folder: Path | None = None) -> None:
        """`folder`: where PostgreSQL keeps its data, if that is on this machine."""
        super().__init__()
        self._folder = folder
        self._source = source
        self._space = space
        self._stop = asyncio.Event()

    def wake(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        while not self.should_stop:
            if self._space.seen_here:
                await self._probe_until_there_is_room()
            else:
                await self._look()
                await self._wait(LOOK_SECONDS, or_trouble=True)

    async def _look(self) -> None:
        if not self._has_reserve():
            self._space.notice()
            return
        async with self._source.acquire() as connection:
            told = await disk_space.is_told(connection)
        if self._space.seen_here:
            return  # since the look
        if told and not self._space.is_full:
            self._space.fill()
            log.error(
                "Another worker says that the disk of PostgreSQL is full; this one writes nothing until it has room."
            )
        elif not told and self._space.is_full:
            self._space.clear()
            log.info("The disk of PostgreSQL has room again.")

    async def _probe_until_there_is_room(self) -> None:
        connection = await database.connect(self._source.dsn, timeout_seconds=TIMEOUT_SECONDS)
        log.error("The disk of PostgreSQL is full. No event is taken, and nothing is written, until it has room.")
        try:
            await disk_space.tell(connection)
            while not (self._has_reserve() and await disk_space.has_room(connection)):
                await self._wait(PROBE_SECONDS)
                if self.should_stop:
                    return
            self._space.clear()
            log.info("The disk of PostgreSQL has room again.")
        finally:
            database.drop(connection)

    def _has_reserve(self) -> bool:
        if self._folder is None or not self._folder.exists():
            return True
        return shutil.disk_usage(self._folder).free >= RESERVE_BYTES

    async def _wait(self, seconds: float, *, or_trouble: bool = False) -> None:
        waits = [self._stop.wait(), *([self._space.trouble()] if or_trouble else [])]
        tasks = [asyncio.ensure_future(one) for one in waits]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
