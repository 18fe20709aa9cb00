"""Waits: for a wake-up or a timeout, and backoff with jitter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator


class WakeUp:
    """Wakes one waiting loop. Several calls to `set` before the next `wait` are one wake-up."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the loop now, or at its next `wait`."""
        self._event.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """Return True at the next wake-up and reset it, or return False when the time is up."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


def backoff_seconds(first: float = 0.1, most: float = 5.0) -> Iterator[float]:
    """Endless waits in seconds that double from `first` to `most`, each reduced at random by up to half.

    The jitter keeps workers that lost the same server from reconnecting at the same time.
    """
    wait = first
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        wait = min(wait * 2, most)
