"""Waiting for a condition, never for time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, message: str = "") -> None:
    """Return when the condition holds; AssertionError when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, message or f"not within {seconds} s"
        await asyncio.sleep(0.02)
