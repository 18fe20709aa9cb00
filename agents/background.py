"""The common shape of background work: `run` ends when a server is unavailable, and is called again with backoff."""

from __future__ import annotations

import asyncio

from mode import Service

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import backoff_seconds
from tables import database
from tables.refusals import explained

STOP_SECONDS = 3.0


class Background(Service):
    """Calls `run` repeatedly until the worker stops, with backoff while PostgreSQL is unavailable.

    Any other error is a bug and stops the worker: a loop that hid it would lose events silently.
    """

    cancel_on_stop = False
    """Whether a stop cancels `run` immediately. Only for work that can be interrupted at any point."""

    def __init__(self) -> None:
        super().__init__()
        self._log = ActionLog(type(self).__module__)
        self.throttled = ThrottledLog(self._log)
        self._ended = asyncio.Event()
        self._ended.set()  # a service that was never started has nothing to finish

    async def run(self) -> None:
        """Work until the worker stops. Raises an error that `is_away` accepts when a server is unavailable."""
        raise NotImplementedError

    def log_unavailable(self, error: Exception) -> None:
        """Say what a run waits for, after it ended with this error."""
        task = type(self).__name__
        self.throttled.warning(
            LogAction.POSTGRES_UNAVAILABLE, "{task} waits for PostgreSQL: {error}", task=task, error=explained(error)
        )

    def wake(self) -> None:
        """Interrupt a waiting `run`; called when the worker stops."""

    @Service.task
    async def _run(self) -> None:
        waits = backoff_seconds()
        self._ended.clear()
        try:
            while not self.should_stop:
                started = self.loop.time()
                try:
                    await self.run()
                except Exception as error:
                    if not database.is_away(error):
                        raise
                    self.log_unavailable(error)
                if self.loop.time() - started > STOP_SECONDS:
                    waits = backoff_seconds()
                if not self.should_stop:
                    await self.sleep(next(waits))
        finally:
            self._ended.set()

    async def on_stop(self) -> None:
        """Wait until `run` has finished its round. After the deadline it is cancelled, which only delays the work."""
        self.wake()
        if self.cancel_on_stop:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            text = "{task} has not finished within {seconds:g} s; it continues after the next start"
            self._log.info(LogAction.WORKER_UNFINISHED, text, task=type(self).__name__, seconds=STOP_SECONDS)
