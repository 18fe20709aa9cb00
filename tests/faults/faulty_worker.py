"""A worker that is frozen, killed and started again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

PATIENCE_SECONDS = 120.0


class FaultyWorker(WorkerProcess):
    """A worker that can be frozen and started again with other settings."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.services = settings["SERVICES"]
        self.is_frozen = False

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def state(self) -> str:
        """For a human."""
        code = None if self._process is None else self._process.poll()
        return f"ended with {code}" if code is not None else "frozen" if self.is_frozen else "runs"

    def freeze(self) -> None:
        """SIGSTOP."""
        self.is_frozen = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.is_frozen = False
        self.process.send_signal(signal.SIGCONT)


class Keeper:
    """Starts a worker again whenever it has ended, as a service manager does."""

    def __init__(self, worker: FaultyWorker, *, again: Callable[[int], dict[str, str]] | None = None) -> None:
        """`again`: settings for the start after so many deaths."""
        self.deaths: list[int] = []
        """Exit codes; -9 for kill -9."""
        self._worker = worker
        self._again = again
        self._running = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            code = self._worker.process.poll()
            if code is not None:
                self.deaths.append(code)
                if self._again is not None:
                    self._worker.set(**self._again(len(self.deaths)))
                self._worker.start()
            await asyncio.sleep(0.05)

    async def died(self, times: int) -> None:
        """Return when it has ended so often."""

        async def often_enough() -> bool:
            return len(self.deaths) >= times

        await until(often_enough, PATIENCE_SECONDS, f"it lives; deaths: {self.deaths}")

    async def stop(self) -> None:
        """Start it no more."""
        self._running.cancel()
        await asyncio.wait([self._running])


async def during(seconds: float, *watch: Callable[[], Awaitable[None]]) -> None:
    """How long a fault lasts; what is watched is looked at twice a second."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        for look in watch:
            await look()
        await asyncio.sleep(min(left, 0.5))
