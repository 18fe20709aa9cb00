"""The door as a worker opens it: the real server on a port of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from agents.projections.devices import devices
from headrace.access.grant import EVERYTHING, Grant
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from headrace.projection import Projection
from tables.database import Database
from tables.intake.group_commit import GroupCommit
from tables.projections.applied_events import AppliedEvents
from web.ingestion.door import Door
from web.ingestion.event_status import EventStories
from web.ingestion.event_types import EventTypeViews
from web.server.health import Health
from web.server.server import HttpServer, make_application

from tests.support.doors.callers import calling_with
from tests.support.servers.fresh import free_port

MAX_BODY_BYTES = 1_000_000


class OpenDoor:
    """A server, and a client that has its address."""

    def __init__(self, client: aiohttp.ClientSession, port: int, applied: AppliedEvents, server: HttpServer) -> None:
        self.client = client
        self.port = port
        self.applied = applied
        self.server = server

    async def post(
        self, body: bytes, headers: dict[str, str] | Sequence[tuple[str, str]]
    ) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        """Post to the events; status, the JSON of the answer, and the answer."""
        async with self.client.post("/api/v1/events", data=body, headers=headers) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400 and "results" not in answer:
                assert response.content_type == "application/problem+json"
                assert answer["status"] == response.status
            return response.status, answer, response


@asynccontextmanager
async def open_door(
    database: Database,
    *,
    projections: Sequence[Projection[Any]] = (devices,),
    max_connections: int = 100,
    grant: Grant = EVERYTHING,
    accept_old_shapes: bool = False,
) -> AsyncIterator[OpenDoor]:
    """A door whose outbox no relay empties; `grant` is that of all who call."""
    group_commit = GroupCommit(database, max_queued_events=1_000, committed=lambda: None)
    names = [projection.name for projection in projections]
    applied = AppliedEvents(database, names)
    known = EventTypes(projections, accept_old_shapes=accept_old_shapes)
    door = Door(group_commit, known, Limits(batch_events=100), applied=applied)
    health = Health(needs={"postgresql": database.answers})
    stories, types = EventStories(database, names), EventTypeViews(known.known)
    routes = [*door.routes(), *stories.routes(), *types.routes(), *health.routes()]
    application = make_application(routes, MAX_BODY_BYTES)
    application.middlewares.append(calling_with(grant))
    application.on_shutdown.append(applied.on_shutdown)
    port = free_port()
    server = HttpServer(
        application,
        "127.0.0.1",
        port,
        health,
        service="INGESTION",
        hot_paths=[door.hot_path()],
        max_connections=max_connections,
    )
    await server.on_start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield OpenDoor(client, port, applied, server)
    finally:
        await server.drain()
