"""Waiting for a condition, never for time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], Awaitable[bool]], seconds: float, message: str | Callable[[], str] = ""
) -> None:
    """Return when the condition holds; AssertionError when it does not within the time.

    `message`: what is said then; a function tells how things are at that moment.
    """
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() >= deadline:
            raise AssertionError((message if isinstance(message, str) else message()) or f"not within {seconds} s")
        await asyncio.sleep(0.02)
