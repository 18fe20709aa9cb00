"""Work that can be ended from outside, so that it begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CancellableAttempts:
    """What is under way now."""

    def __init__(self) -> None:
        self._running: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises TimeoutError inside, and out of it, when `end` is called meanwhile."""
        async with asyncio.timeout(None) as attempt:
            self._running.add(attempt)
            try:
                yield
            finally:
                self._running.discard(attempt)

    def end(self) -> None:
        """End all that is under way. What does not let itself be cancelled goes on."""
        now = asyncio.get_running_loop().time()
        for attempt in list(self._running):
            attempt.reschedule(now)
