"""Work that must not hold the event loop: small pieces in slices of a few milliseconds, large pieces in a thread.

There is one thread: each more would make the loop wait longer for its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

SLICE_SECONDS = 0.005
"""Small pieces are done for this time before others have their turn."""
LARGE_BYTES = 16_384
"""What concerns more bytes is done in the thread."""

T = TypeVar("T")

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turns")


async def off_the_loop(work: Callable[[], T], size: int) -> T:
    """The result of this work, which is done in the thread where it concerns many bytes."""
    if size <= LARGE_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_thread, work)


class Slices:
    """Divides a loop of small pieces of work into slices; between two of them, others have their turn."""

    def __init__(self) -> None:
        self._end = perf_counter() + SLICE_SECONDS

    async def end_if_over(self) -> None:
        """Let others have their turn if the slice is over."""
        if perf_counter() > self._end:
            await asyncio.sleep(0)
            self._end = perf_counter() + SLICE_SECONDS
