"""Who sent an event is stored beside it, and shown in the audit log; the event itself is as it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from headrace.access.caller import Caller
from headrace.access.scopes import ALL_SCOPES
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from tables.database import Connection, Database, Pool
from tables.intake import outbox
from tables.intake.group_commit import GroupCommit
from web.access.credentials import set_caller
from web.ingestion.door import Door
from web.query.audit_log import AuditLog
from web.server.server import make_application

from tests.support.data.events import event

Client = TestClient[web.Request, web.Application]
EVENTS = "/api/v1/events"
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
OLD_ACCEPT = """
SELECT index, same FROM outbox_accept_group(
    ARRAY['old'], ARRAY['/s'], ARRAY['t'], ARRAY[NULL],
    ARRAY['2026-01-01Z'], ARRAY[true], ARRAY['/s'], ARRAY[0::bigint],
    ARRAY['{"id": "old"}'::json], ARRAY[''::bytea]
)
"""


def envelope(number: int) -> dict[str, Any]:
    return {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}


@web.middleware
async def calling(request: web.Request, handler: Handler) -> web.StreamResponse:
    if name := request.headers.get("Test-Caller", ""):
        set_caller(request, Caller(name, "a key", ALL_SCOPES))
    return await handler(request)


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    door = Door(GroupCommit(database, max_queued_events=9, committed=lambda: None), EventTypes([]), Limits())
    application = make_application(door.routes(), 1_000_000)
    application.middlewares.append(calling)
    async with TestClient(TestServer(application)) as opened:
        yield opened


@pytest.fixture
async def query(database: Database) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_application(AuditLog(database).routes(), 1_000))) as opened:
        yield opened


async def store(connection: Connection) -> None:
    stored = await outbox.store_next(connection, [], at_most=100, partitions=4)
    await outbox.delete(connection, [one.seq for one in stored])


async def test_the_audit_log_shows_who_sent_an_event(client: Client, query: Client, connection: Connection) -> None:
    assert (await client.post(EVENTS, json=envelope(1), headers={"Test-Caller": "key-1"})).status == 202
    batch = json.dumps([envelope(2), envelope(3)])
    assert (await client.post(EVENTS, data=batch, headers={**BATCH, "Test-Caller": "key-2"})).status == 202
    assert (await client.post(EVENTS, json=envelope(4))).status == 202
    await store(connection)
    items = (await (await query.get(EVENTS)).json())["items"]
    assert [item.get("received_by") for item in items] == ["key-1", "key-2", "key-2", None]
    assert "received_by" not in items[3]
    assert all("received_by" not in item["event"] for item in items)


async def test_a_duplicate_of_another_caller_changes_nothing(client: Client, connection: Connection) -> None:
    for caller in ("first", "second"):
        assert (await client.post(EVENTS, json=envelope(1), headers={"Test-Caller": caller})).status in {200, 202}
    await store(connection)
    assert (await client.post(EVENTS, json=envelope(1), headers={"Test-Caller": "third"})).status == 200
    assert await connection.fetchval("SELECT received_by FROM event_store") == "first"


async def test_events_that_share_a_commit_keep_their_callers(database: Database, pool: Pool) -> None:
    group = GroupCommit(database, max_queued_events=1_000, committed=lambda: None)
    asked = [(number, f"k{number}" if number % 2 else "") for number in range(9)]
    await asyncio.gather(*(group.submit([event(number)], caller=caller) for number, caller in asked))
    rows = await pool.fetch("SELECT id, received_by FROM outbox ORDER BY seq")
    assert {row["id"]: row["received_by"] for row in rows} == {str(number): caller or None for number, caller in asked}


async def test_a_caller_that_postgresql_cannot_hold_does_not_stop_an_event(database: Database, pool: Pool) -> None:
    group = GroupCommit(database, max_queued_events=9, committed=lambda: None)
    await group.submit([event(1)], caller="jwt:a\0b\ud800")
    assert await pool.fetchval("SELECT received_by FROM outbox") == "jwt:a\ufffdb?"


async def test_a_worker_of_an_older_version_still_accepts_events(connection: Connection) -> None:
    assert await connection.fetch(OLD_ACCEPT) == []
    assert [tuple(row) for row in await connection.fetch(OLD_ACCEPT)] == [(1, True)]
    await store(connection)
    assert await connection.fetchval("SELECT received_by FROM event_store") is None
