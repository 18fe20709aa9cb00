"""`GET /api/v1/events/status?source=&id=`: the progress of one event, from its receipt to the projections."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

import msgspec
from aiohttp import web

from headrace.access.grant import Grant
from tables.database import Database, can_hold
from tables.history import event_status
from web.access.grants import check_asked_source, limits_of
from web.server.problems import Problem

PATH = "/api/v1/events/status"
State = Literal["applied", "parked", "discarded", "waiting"]
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*").fullmatch


class StoryReceived(msgspec.Struct):
    """When ingestion accepted the event."""

    at: datetime


class StoryStored(msgspec.Struct):
    """When the event reached the event store, and its position there."""

    position: int
    at: datetime


class StoryPublished(msgspec.Struct):
    """The partition of the topic that has the event."""

    partition: int


class Story(msgspec.Struct):
    """The progress of an event; `stored` and `published` are null until they have happened."""

    id: str
    source: str
    received: StoryReceived
    stored: StoryStored | None
    published: StoryPublished | None
    projections: dict[str, State]
    """By projection: `applied`, `parked`, `discarded` (the projection continues without it) or `waiting`."""


def location(source: str, event_id: str) -> str:
    """The path of an event's story."""
    return f"{PATH}?source={_quoted_source(source)}&id={_quoted(event_id)}"


def _quoted(text: str) -> str:
    return text if _UNRESERVED(text) else quote(text, safe="")


_quoted_source = lru_cache(maxsize=1_000)(_quoted)
"""Sources repeat; ids do not."""


class EventStories:
    """Serves the stories of events, with their states in these projections."""

    def __init__(self, database: Database, projections: Iterable[str]) -> None:
        self._database = database
        self._projections = tuple(projections)

    def routes(self) -> list[web.RouteDef]:
        """`GET /api/v1/events/status`."""
        return [web.get(PATH, self.get_story)]

    async def get_story(self, request: web.Request) -> web.Response:
        """The story of one event, if the caller may touch it."""
        if set(request.query) != {"source", "id"} or len(request.query) != len({"source", "id"}):
            raise Problem(400, "invalid_parameter", "Parameters not valid", "Give source and id, once each.")
        source, event_id = request.query["source"], request.query["id"]
        limits = limits_of(request)
        check_asked_source(limits, source)
        # PostgreSQL has no event whose name it cannot store.
        found = await self._find(source, event_id, limits) if can_hold(source) and can_hold(event_id) else None
        if found is None:
            raise Problem(404, "event_not_found", "Event not found", "No event with this source and id was accepted.")
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def _find(self, source: str, event_id: str, limits: Grant | None) -> Story | None:
        async with self._database.acquire("rows") as connection:
            status = await event_status.find(connection, source, event_id, grant=limits)
        if status is None:
            return None
        stored = published = None
        if status.position is not None and status.recorded_at is not None and status.partition is not None:
            stored = StoryStored(status.position, status.recorded_at)
            published = StoryPublished(status.partition) if status.published else None
        return Story(
            event_id,
            source,
            StoryReceived(status.received_at),
            stored,
            published,
            {name: _state(name, status) for name in self._projections},
        )


def _state(projection: str, status: event_status.EventStatus) -> State:
    if projection in status.parked_by:
        return "parked"
    if projection in status.discarded_by:
        return "discarded"
    return "applied" if projection in status.applied_by else "waiting"
