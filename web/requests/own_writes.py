"""Read your own write: `source` and `id` name an event that must be applied before the answer, `wait` for how long."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import NamedTuple

from aiohttp import hdrs, web

from headrace.access.grant import Grant
from tables.database import Database, can_hold
from tables.history import event_status
from tables.projections.applied_events import AppliedEvents
from web.access.credentials import still_admitted, unauthorized
from web.access.grants import check_asked_source, limits_of
from web.requests.query_parameters import QueryParameters
from web.requests.waiting_answers import while_client_stays
from web.server.problems import Problem

NAMES = frozenset({"source", "id", "wait"})
MOST_SECONDS = 60
SECONDS = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,3})?")
RETRY_AFTER_SECONDS = 1
NO_EVENT = ("", "")
"""The name of no event."""


class OwnWrite(NamedTuple):
    """An event that must be applied before the answer."""

    source: str
    id: str
    seconds: float


def read_own_write(parameters: QueryParameters) -> OwnWrite | None:
    """The event that `source`, `id` and `wait` name; errors are noted in `parameters`."""
    given = parameters.given
    if not NAMES & given.keys():
        return None
    for name, other in (("source", "id"), ("id", "source")):
        if name not in given:
            detail = f"{other if other in given else 'wait'} needs source and id: both together name an event."
            parameters.note(name, "missing_parameter", detail)
    seconds = given.get("wait", "0")
    if not SECONDS.fullmatch(seconds) or float(seconds) > MOST_SECONDS:
        detail = f"wait is a number of seconds from 0 to {MOST_SECONDS}, with at most three decimals."
        parameters.note("wait", "invalid_value", detail)
        return None
    return OwnWrite(given.get("source", ""), given.get("id", ""), float(seconds))


class OwnWrites:
    """Waits until projections have applied events. A worker has one instance, which watches for all its clients."""

    def __init__(self, database: Database, projections: Iterable[str]) -> None:
        self._database = database
        self._applied = AppliedEvents(database, projections)

    def close(self) -> None:
        """Release all who wait; for shutdown."""
        self._applied.close()

    async def require(self, request: web.Request, write: OwnWrite, projection: str) -> None:
        """Return once the projection has applied or discarded the event.

        Raises Problem: 503 when that does not happen in time, or the event is parked; 401 when the client's key has
        ended meanwhile. An event that the caller may not touch is answered like an unknown event, except that its
        source alone may be refused (403).
        """
        limits = limits_of(request)
        check_asked_source(limits, write.source)
        state = await self._state(write, projection, limits)
        if state == "waiting" and write.seconds:
            state = await self._wait(request, write, projection, limits)
            if not await still_admitted(request):
                raise unauthorized()
        if state == "applied":
            return
        headers: dict[str, str] = {hdrs.RETRY_AFTER: str(RETRY_AFTER_SECONDS)}
        if state == "parked":
            detail = (
                f"The projection {projection} has parked this event. It is applied when its parked events are retried."
            )
            raise Problem(503, "event_parked", "Event parked", detail, headers=headers)
        detail = f"The projection {projection} has not applied this event yet, or it was never accepted. Try again."
        raise Problem(503, "event_not_applied", "Event not applied yet", detail, headers=headers)

    async def _wait(self, request: web.Request, write: OwnWrite, projection: str, limits: Grant | None) -> str:
        clock = asyncio.get_running_loop().time
        ends = clock() + write.seconds
        for event in ((write.source, write.id), NO_EVENT):
            is_over = await while_client_stays(request, self._applied.wait(*event, ends - clock(), projection))
            state = await self._state(write, projection, limits)
            if state != "waiting" or not is_over or limits is None:
                return state
            # Another's applied event must take as long as an unknown event.
        return state

    async def _state(self, write: OwnWrite, projection: str, limits: Grant | None) -> str:
        # PostgreSQL has no event whose name it cannot store.
        if not can_hold(write.source) or not can_hold(write.id):
            return "waiting"
        async with self._database.acquire("rows") as connection:
            status = await event_status.find(connection, write.source, write.id, grant=limits)
        if status is None:
            return "waiting"
        if projection in status.parked_by:
            return "parked"
        return "applied" if projection in status.applied_by else "waiting"
