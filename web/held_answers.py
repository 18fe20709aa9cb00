"""Answers that wait until projections have applied what was posted, for as long as the client is there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiohttp import web

from tables.applied_events import AppliedEvents, Name
from web.connections import cancel_when_lost


async def are_applied(request: web.Request, applied: AppliedEvents, events: Collection[Name], seconds: float) -> bool:
    """Whether every projection is past these events within the time; False also when the client goes away."""
    waiting = asyncio.create_task(applied.wait_for_all(events, seconds))
    cancel_when_lost(request, waiting)
    try:
        await asyncio.wait([waiting])
    finally:
        waiting.cancel()
    return not waiting.cancelled() and waiting.result()
