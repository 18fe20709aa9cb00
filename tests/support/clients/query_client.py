"""The query service on loopback, with two projections to ask about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from yarl import URL

from headrace.projection import Field, Projection
from tables.database import Database, Pool
from web.query.projections import Projections
from web.server.server import make_application

from tests.support.doors.hot_server import HotServer

Client = TestClient[web.Request, web.Application]

WRITE = """
INSERT INTO projections (projection, key, state, position, version) VALUES ('things', $1, $2::text::jsonb, $3, 1)
ON CONFLICT (projection, key) DO UPDATE
SET state = excluded.state, position = excluded.position, version = projections.version + 1,
    updated_at = clock_timestamp()
"""
DELETE = "DELETE FROM projections WHERE projection = 'things' AND key = $1"


class Thing(msgspec.Struct):
    color: str
    weight: int


THINGS: Projection[Any] = Projection(
    "things",
    state=Thing,
    key=lambda event: event.source,
    description="Things of all kinds.",
    fields={"color": Field("text"), "weight": Field("number")},
)
BARE: Projection[Any] = Projection("bare", state=Thing, key=lambda event: event.source, description="Not filterable.")


def serving(database: Database, projections: Sequence[Projection[Any]] = (THINGS, BARE)) -> Client:
    views = Projections(database, projections)
    application = make_application(views.routes(), max_body_bytes=1000)
    application.on_shutdown.append(views.close)
    return TestClient(HotServer(application, [views.hot_path()]))


async def write(pool: Pool, key: str, state: str = "{}", position: int = 1) -> None:
    await pool.execute(WRITE, key, state, position)


def path(key: str, projection: str = "things") -> URL:
    """The address of a row; dots are percent-encoded as well, because clients take `.` and `..` for steps."""
    return raw(f"/api/v1/projections/{projection}/{quote(key, safe='').replace('.', '%2E')}")


def raw(address: str) -> URL:
    """An address that goes out as it is written here."""
    return URL(address, encoded=True)


async def refused(response: ClientResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status == status
    assert response.headers["Content-Type"] == "application/problem+json"
    members: dict[str, Any] = json.loads(await response.read())
    assert members["code"] == code
    return members
