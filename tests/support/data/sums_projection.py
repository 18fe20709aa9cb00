"""Two projections over stored events, for tests of what is read from history: one fed by subjects, one by types."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp.test_utils import TestClient

from agents.projector.projector import Projector
from headrace.projection import Event, Field, Projection
from tables.database import Database, Pool
from tables.intake import outbox
from web.query.projections import Projections
from web.server.server import make_application

from tests.support.clients.query_client import Client
from tests.support.data.events import event
from tests.support.doors.hot_server import HotServer


class Amount(msgspec.Struct):
    number: int


class Sum(msgspec.Struct):
    total: int
    events: int


class Count(msgspec.Struct):
    events: int


SUMS: Projection[Sum] = Projection(
    "sums",
    state=Sum,
    key=lambda event: event.subject or "",
    description="The sum of a subject's numbers.",
    fields={"total": Field("number")},
)
COUNTS: Projection[Count] = Projection(
    "counts", state=Count, key=lambda event: event.type, description="How many events of a type."
)


@SUMS.on("tested", Amount)
def added(known: Sum | None, event: Event[Amount]) -> Sum | None:
    """Negative numbers cannot be applied, 0 removes the row."""
    if event.data.number < 0:
        raise ValueError("negative")
    if event.data.number == 0:
        return None
    return Sum(event.data.number, 1) if known is None else Sum(known.total + event.data.number, known.events + 1)


@COUNTS.on_every_other_event
def counted(known: Count | None, _: Event[msgspec.Raw]) -> Count:
    return Count(1 if known is None else known.events + 1)


def serving_sums(database: Database, **options: Any) -> Client:
    """The query service with both."""
    projections = Projections(database, [SUMS, COUNTS], **options)
    application = make_application(projections.routes(), max_body_bytes=1000)
    application.on_shutdown.append(projections.close)
    return TestClient(HotServer(application, [projections.hot_path()]))


_numbers = iter(range(1, 10**9))


async def store(pool: Pool, *amounts: tuple[str, int], event_type: str = "tested", partitions: int = 4) -> list[int]:
    """Store events (subject, number) as the relay does; their positions."""
    async with pool.acquire() as connection:
        sent = [
            event(next(_numbers), type=event_type, subject=subject, data={"number": number})
            for subject, number in amounts
        ]
        await outbox.accept(connection, sent)
        stored = await outbox.store_next(connection, [], at_most=10_000, partitions=partitions)
        await outbox.delete(connection, [one.seq for one in stored])
        return [one.position for one in stored]


async def apply(database: Database, *projections: Projection[Any]) -> None:
    """Bring projections up to the store."""
    for projection in projections or (SUMS, COUNTS):
        await Projector(projection, database).catch_up()
