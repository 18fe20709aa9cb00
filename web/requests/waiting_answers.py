"""Answers that wait until projections have applied events, as long as the client stays connected."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine

from aiohttp import web

from tables.projections.applied_events import AppliedEvents, Name
from web.access.credentials import CHECK_SECONDS, caller_of, still_admitted
from web.server.connections import cancel_when_lost, holding


async def are_applied(request: web.Request, applied: AppliedEvents, events: Collection[Name], seconds: float) -> bool:
    """Whether every projection has passed these events within the time; False too when the client disconnects."""
    return await while_client_stays(request, applied.wait_for_all(events, seconds))


async def while_client_stays(request: web.Request, waiting: Coroutine[None, None, bool]) -> bool:
    """The result; False when the client disconnects or is no longer admitted, or too many requests wait already."""
    with holding(request, caller_of(request).id) as has_room:
        if not has_room:
            waiting.close()
            return False
        task = asyncio.create_task(waiting)
        cancel_when_lost(request, task)
        try:
            while (await asyncio.wait([task], timeout=CHECK_SECONDS))[1]:
                if not await still_admitted(request):
                    return False
        finally:
            task.cancel()
    return not task.cancelled() and task.result()
