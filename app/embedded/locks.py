"""Locks of the data folder. The kernel releases them when the process ends, even after kill -9."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.errors import StartError

POLL_SECONDS = 0.05


class FileLock:
    """An flock on an open file, held until `release`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_shared(self) -> bool:
        """Acquire the lock in shared mode; False if another process holds it exclusively."""
        return self._try(fcntl.LOCK_SH)

    def try_alone(self) -> bool:
        """Acquire the lock exclusively; False if others hold it, and then this object's shared lock is lost."""
        return self._try(fcntl.LOCK_EX)

    def release(self) -> None:
        """Release the lock and close the file."""
        os.close(self._descriptor)

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self._descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


async def share(path: Path, *, wait_seconds: float) -> FileLock:
    """Acquire the lock in shared mode, waiting for an exclusive holder. Raises StartError when the time is up."""
    lock = FileLock(path)
    try:
        deadline = time.monotonic() + wait_seconds
        while not lock.try_shared():
            await _wait(path, deadline, wait_seconds)
    except BaseException:
        lock.release()
        raise
    return lock


@asynccontextmanager
async def alone(path: Path, *, wait_seconds: float) -> AsyncIterator[None]:
    """Hold the lock exclusively. Raises StartError when the time is up."""
    lock = FileLock(path)
    try:
        deadline = time.monotonic() + wait_seconds
        while not lock.try_alone():
            await _wait(path, deadline, wait_seconds)
        yield
    finally:
        lock.release()


async def _wait(path: Path, deadline: float, wait_seconds: float) -> None:
    if time.monotonic() > deadline:
        raise StartError(
            f"{path}: held for {wait_seconds:.0f} s by another worker that starts or stops this server; "
            "check that worker's log, or end it"
        )
    await asyncio.sleep(POLL_SECONDS)
