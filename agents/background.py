"""The one shape of background work: a life that ends when something it needs is away, and begins again."""

from __future__ import annotations

import asyncio
import logging

from mode import Service

from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import backoff_seconds
from tables import database

STOP_SECONDS = 3.0


class Background(Service):
    """Runs `run` again and again, with backoff while PostgreSQL is away, until the worker stops.

    Any other error ends the worker: it is a mistake of ours, and a loop that hides it would lose events quietly.
    """

    needs = "PostgreSQL"
    only_looks = False
    """Whether a life may be cut off anywhere, because it changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.throttled = ThrottledLog(logging.getLogger(type(self).__module__))
        self._ended = asyncio.Event()
        self._ended.set()  # a service that was never started has nothing to finish

    async def run(self) -> None:
        """One life: until the worker stops, or until what it needs is away (raises what `is_away` knows)."""
        raise NotImplementedError

    def wake(self) -> None:
        """Called when the worker stops, so that a waiting life sees it at once."""

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
                    self.throttled.warning(f"{type(self).__name__} waits for {self.needs}: %r", error)
                if self.loop.time() - started > STOP_SECONDS:
                    waits = backoff_seconds()
                if not self.should_stop:
                    await self.sleep(next(waits))
        finally:
            self._ended.set()

    async def on_stop(self) -> None:
        """Let the life finish its round; what is cut off after the deadline is safe, only later."""
        self.wake()
        if self.only_looks:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            self.log.info("Not finished in %s s; it goes on after the next start.", STOP_SECONDS)
