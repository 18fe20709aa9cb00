"""Events of two tenants, projections that show them, and all routes of both ports for a caller with a grant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp.test_utils import TestClient

from agents.parked.retrier import Retrier
from agents.projector.projector import Projector
from headrace.access.grant import EVERYTHING, Grant
from headrace.events.envelope import ParsedEvent
from headrace.projection import Event, Field, Projection
from tables.database import Database
from tables.intake import outbox
from web.openapi.both_ports import documentation_of_query
from web.query.audit_log import AuditLog
from web.query.dead_letters import dead_letter_routes
from web.query.parked import parked_routes
from web.query.projections import Projections
from web.server.health import Health
from web.server.server import make_application

from tests.support.clients.query_client import Client
from tests.support.data.events import event
from tests.support.doors.callers import SAME_REQUEST, calling_with
from tests.support.doors.hot_server import HotServer

OURS, THEIRS = "/greenhouse/a/", "/greenhouse/b/"
NOTED = "noted"
BAD = "bad"
"""A note that cannot be applied; the error repeats what is in the row, and the note."""


class Noted(msgspec.Struct, frozen=True):
    note: str
    text: str


class Note(msgspec.Struct, frozen=True):
    owner: str | None
    texts: list[str]


def _noted(note: Note | None, event: Event[Noted]) -> Note | None:
    if event.data.text.startswith(BAD):
        raise ValueError(f"{note} and {event.data.text}")
    if not event.data.text:
        return None
    return Note(event.subject, [*(note.texts if note else ()), event.data.text])


def _projection(name: str, key: Any, subject: str | None) -> Projection[Note]:
    made: Projection[Note] = Projection(
        name, state=Note, key=key, description="Notes.", fields={"owner": Field("text")}, subject=subject
    )
    made.on(NOTED, Noted)(_noted)
    return made


BY_SUBJECT = _projection("by_subject", lambda event: event.subject or "", "key")
BY_NOTE = _projection("by_note", lambda event: event.data.note, "owner")
BY_TYPE = _projection("by_type", lambda event: event.type, None)
PROJECTIONS: Sequence[Projection[Any]] = (BY_SUBJECT, BY_NOTE, BY_TYPE)


def noted(event_id: str, note: str, text: str, **members: Any) -> ParsedEvent:
    """An event; a text that begins with BAD cannot be applied, an empty text removes the note."""
    return event(event_id, type=NOTED, data={"note": note, "text": text}, **members)


async def store(database: Database, *events: ParsedEvent) -> list[int]:
    """Store events as the relay does; their positions."""
    async with database.acquire() as connection:
        await outbox.accept(connection, list(events))
        stored = await outbox.store_next(connection, [], at_most=10_000, partitions=4)
        await outbox.delete(connection, [one.seq for one in stored])
        return [one.position for one in stored]


async def apply(database: Database) -> None:
    """Bring the projections up to the store."""
    for projection in PROJECTIONS:
        await Projector(projection, database).catch_up()


def serving_tenants(database: Database, grant: Grant = EVERYTHING, **options: Any) -> Client:
    """All routes of the query port, for callers with this grant."""
    views = Projections(database, PROJECTIONS, **options)
    names = [one.name for one in PROJECTIONS]
    health = Health({"postgresql": database.answers})
    routes = [
        *views.routes(),
        *AuditLog(database).routes(),
        *parked_routes(database, names, Retrier(PROJECTIONS, database), owned_by_key=[BY_SUBJECT.name]),
        *dead_letter_routes(database),
        *health.routes(),
        *documentation_of_query(PROJECTIONS).routes(),
    ]
    application = make_application(routes, max_body_bytes=100_000)
    application.middlewares.append(calling_with(grant))
    application.on_shutdown.append(views.close)
    return TestClient(HotServer(application, [views.hot_path()]), headers=SAME_REQUEST)
