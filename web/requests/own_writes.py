"""Read your own write: `source` and `id` name an event that the answer must rest on, `wait` how long to wait for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiohttp import hdrs, web

from headrace.events.problem_document import ProblemError
from tables.database import Database, can_hold
from tables.history import event_status
from tables.projections.applied_events import AppliedEvents
from web.requests.waiting_answers import while_client_stays
from web.server.problems import problem

NAMES = frozenset({"source", "id", "wait"})
MOST_SECONDS = 60
SECONDS = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,3})?")
RETRY_AFTER_SECONDS = 1


class OwnWrite(NamedTuple):
    """An event that must be applied before the answer."""

    source: str
    id: str
    seconds: float


def read_own_write(given: Mapping[str, str], errors: list[ProblemError]) -> OwnWrite | None:
    """What a query string says of it; what is wrong goes to `errors`."""
    if not NAMES & given.keys():
        return None
    for name, other in (("source", "id"), ("id", "source")):
        if name not in given:
            detail = f"{other if other in given else 'wait'} goes with source and id: an event is named by both."
            errors.append(ProblemError(parameter=name, code="missing_parameter", detail=detail))
    seconds = given.get("wait", "0")
    if not SECONDS.fullmatch(seconds) or float(seconds) > MOST_SECONDS:
        detail = f"wait is a number of seconds from 0 to {MOST_SECONDS}, with at most three decimals."
        errors.append(ProblemError(parameter="wait", code="invalid_value", detail=detail))
        return None
    return OwnWrite(given.get("source", ""), given.get("id", ""), float(seconds))


class OwnWrites:
    """Waits for events; one for a worker."""

    def __init__(self, database: Database, projections: Iterable[str]) -> None:
        self._database = database
        self._applied = AppliedEvents(database, projections)

    def close(self) -> None:
        """Let all who wait go."""
        self._applied.close()

    async def not_yet(self, request: web.Request, write: OwnWrite, projection: str) -> web.Response | None:
        """The answer where the projection has not applied the event in time; None when it has, or discarded it."""
        state = await self._state(write, projection)
        if state == "waiting" and write.seconds:
            waiting = self._applied.wait(write.source, write.id, write.seconds, projection)
            await while_client_stays(request, waiting)
            state = await self._state(write, projection)
        if state == "applied":
            return None
        headers: dict[str, str] = {hdrs.RETRY_AFTER: str(RETRY_AFTER_SECONDS)}
        if state == "parked":
            detail = (
                f"The projection {projection} has parked this event: it is applied after a retry of the parked events."
            )
            return problem(503, "event_parked", "Event parked", detail, headers=headers)
        detail = f"The projection {projection} has not applied this event yet, or it was never accepted. Ask again."
        return problem(503, "event_not_applied", "Event not applied yet", detail, headers=headers)

    async def _state(self, write: OwnWrite, projection: str) -> str:
        # Text that PostgreSQL cannot take names no event that it could hold.
        if not can_hold(write.source) or not can_hold(write.id):
            return "waiting"
        async with self._database.acquire() as connection:
            status = await event_status.find(connection, write.source, write.id)
        if status is None:
            return "waiting"
        if projection in status.parked_by:
            return "parked"
        return "applied" if projection in status.applied_by else "waiting"
