"""Attempts that can be cancelled from outside, to be retried by their caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CancellableAttempts:
    """The attempts in flight."""

    def __init__(self) -> None:
        self._running: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Run the body as an attempt: `cancel` cancels the body, and the context raises TimeoutError."""
        async with asyncio.timeout(None) as attempt:
            self._running.add(attempt)
            try:
                yield
            finally:
                self._running.discard(attempt)

    def cancel(self) -> None:
        """Cancel all attempts in flight. Code that suppresses the cancellation keeps running."""
        now = asyncio.get_running_loop().time()
        for attempt in list(self._running):
            attempt.reschedule(now)
