"""Whatever is asked: 200, 304, 400 or 404, and no error in the log."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.parked.retrier import Retrier
from tables.database import Database
from tables.intake import dead_letters
from tables.intake.dead_letters import RefusedMessage
from web.ingestion.event_status import EventStories
from web.query.audit_log import AuditLog
from web.query.dead_letters import dead_letter_routes
from web.query.parked import parked_routes
from web.query.projections import Projections
from web.server.health import Health
from web.server.server import HttpServer, make_application

from tests.support.clients.query_client import THINGS, write
from tests.support.fuzzing import JSON_VALUES, fuzz, no_error_logged, status_of
from tests.support.servers.fresh import free_port

ALLOWED = {200, 304, 400, 404, 405, 414, 431, None}
PATHS = st.sampled_from(
    [
        *("/api/v1/projections", "/api/v1/projections/things", "/api/v1/projections/things/a", "/api/v1/events"),
        *("/api/v1/projections/things/changes", "/api/v1/parked", "/api/v1/parked/things/1", "/api/v1/dead-letters"),
        *("/api/v1/events/status", "/api/v1/parked/things/999999999999999999", "/api/v1/projections/nothing/b"),
    ]
)
# Without wait: an answer that is not there in time is 503, as it should be.
NAMES = st.sampled_from(
    [
        *("limit", "cursor", "sort", "color", "weight", "color[in]", "weight[gte]", "color[prefix]", "weight[ne]"),
        *("as_of", "type", "source", "subject", "id", "after", "from", "to", "order", "projection", "key"),
        *("last_event_id", "", "x", "weight[gt", "color[]", "color[eq]"),
    ]
)
VALUES = st.sampled_from(
    [
        *("", "1", "0", "-1", "1000", "1001", "1e400", "1e131071", "1e-16383", "9" * 30, "9" * 5_000, "1.", "NaN"),
        *("desc", "a", "2026-11-22T08:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:60Z", "color"),
        *("-weight", ",,,", "%", "things", "1-2", "0:1,1:2", "9223372036854775807", "9223372036854775808"),
        *("\u0661", "\0", "\ud800"),
    ]
) | st.text(max_size=20)
CURSOR_PARTS = JSON_VALUES | st.sampled_from(["1", "9" * 30, "\0", "2026-11-22T08:00:00Z", 2**70, "a"])
CURSORS = st.lists(CURSOR_PARTS, max_size=4).map(lambda one: made(json.dumps(one).encode())) | (
    st.binary(max_size=30).map(lambda one: made(one))  # noqa: PLW0108 - defined below
)
RAW = st.binary(max_size=20).map(lambda one: one.decode("latin-1").translate(dict.fromkeys(b" \r\n\x00\t", "")))


def made(content: bytes) -> str:
    """As cursors are written."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@st.composite
def targets(draw: st.DrawFn) -> str:
    """A path with a query string."""
    path = draw(PATHS)
    if draw(st.integers(0, 5)) == 0:
        path += "/" + encoded(draw(VALUES))
    parameters = draw(st.lists(st.tuples(NAMES, VALUES | CURSORS), max_size=4))
    query = "&".join(f"{encoded(name)}={encoded(value)}" for name, value in parameters)
    return f"{path}?{query}" + (draw(RAW) if draw(st.integers(0, 5)) == 0 else "")


def encoded(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


@pytest.fixture
async def port(database: Database) -> AsyncIterator[int]:
    """The query service and the status of events, with a few rows of each."""
    views = Projections(database, [THINGS])
    routes = [
        *views.routes(),
        *AuditLog(database).routes(),
        *parked_routes(database, ["things"], Retrier([THINGS], database, max_seconds=1)),
        *dead_letter_routes(database),
        *EventStories(database, ["things"]).routes(),
    ]
    application = make_application(routes, 10_000)
    application.on_shutdown.append(views.close)
    taken = free_port()
    health = Health(needs={})
    server = HttpServer(application, "127.0.0.1", taken, health, service="QUERY", hot_paths=[views.hot_path()])
    await server.on_start()
    async with database.acquire() as connection:
        await dead_letters.store(connection, [RefusedMessage("devices/a/events", b"x", "malformed_json", "no", "{}")])
        for key in ("a", "b", "changes"):
            await write(connection, key, '{"color": "red", "weight": 1.5}')  # type: ignore[arg-type]
    yield taken
    await server.drain()


@fuzz(100)
@given(
    asked=st.lists(targets(), min_size=1, max_size=5),
    header=st.sampled_from(["Last-Event-ID", "If-None-Match", "Accept"]),
    value=VALUES | CURSORS,
)
async def test_whatever_is_asked_is_answered(port: int, asked: list[str], header: str, value: str) -> None:
    safe = value.encode("utf-8", "surrogatepass").decode("latin-1").translate(dict.fromkeys(b"\r\n\x00", ""))
    for target in asked:
        head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}: {safe}\r\nConnection: close\r\n\r\n"
        with no_error_logged():
            status = await status_of(port, head.encode("latin-1", "replace"))
        assert status in ALLOWED, status
