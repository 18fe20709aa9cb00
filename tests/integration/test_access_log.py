"""Who did what: entries are only added, are written beside requests, and are read in pages."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from agents.upkeep.access_log_writer import AccessLogWriter
from app.commands.recording import recorded
from headrace.access.access_log import Action, ActionOutcome, Entry
from headrace.access.caller import Caller
from headrace.access.grant import Grant
from headrace.access.pending_entries import PendingEntries
from headrace.access.scopes import ALL_SCOPES
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from headrace.folding.parked_groups import Group, NotParkedError, ParkedOutcome
from tables.access import access_log
from tables.database import Connection, Database, Pool
from tables.intake.group_commit import GroupCommit
from web.access.credentials import set_caller
from web.access.who_did_what import WhoDidWhat
from web.ingestion.door import Door
from web.query.access_log import AccessLogViews
from web.query.audit_log import AuditLog
from web.query.parked import parked_routes
from web.server.problems import Problem
from web.server.server import make_application

from tests.support.doors.callers import calling_with, may
from tests.support.waiting import until

PATH = "/api/v1/access-log"
Client = TestClient[web.Request, web.Application]


class FakeParking:
    """Retries what is parked in `things`; nothing is parked elsewhere."""

    async def retry(self, projection: str, group: Group | None, *, grant: Grant | None = None) -> ParkedOutcome:
        if projection != "things":
            raise NotParkedError("Nothing is parked.")
        return ParkedOutcome(projection, 0, 3, 1, [])

    async def discard(
        self, projection: str, what: Group | int, *, reason: str, by: str, grant: Grant | None = None
    ) -> ParkedOutcome:
        raise ConnectionResetError(f"planted: {what} {reason} {by}")


@web.middleware
async def calling(request: web.Request, handler: Handler) -> web.StreamResponse:
    if name := request.headers.get("Test-Caller", ""):
        set_caller(request, Caller(name, f"name of {name}", ALL_SCOPES))
    return await handler(request)


async def refuse(request: web.Request) -> web.Response:
    raise Problem(int(request.match_info["status"]), "planted", "Planted", "No.")


@asynccontextmanager
async def serving(database: Database, pending: PendingEntries) -> AsyncIterator[Client]:
    log = WhoDidWhat(pending)
    routes = [
        *AccessLogViews(database, log).routes(),
        *AuditLog(database, log=log).routes(),
        *parked_routes(database, ["things", "others"], FakeParking(), log),
        web.get("/refused/{status}", refuse),
    ]
    application = make_application(routes, 1_000, noted=log.refused)
    application.middlewares.append(calling)
    async with TestClient(TestServer(application)) as client:
        yield client


@pytest.fixture
def pending() -> PendingEntries:
    return PendingEntries(time.monotonic)


@pytest.fixture
async def client(database: Database, pending: PendingEntries) -> AsyncIterator[Client]:
    async with serving(database, pending) as opened:
        yield opened


@pytest.fixture
async def writer(database: Database, pending: PendingEntries) -> AsyncIterator[AccessLogWriter]:
    service = AccessLogWriter(database, pending)
    await service.start()
    yield service
    await service.stop()


async def items(client: Client, **parameters: str) -> list[dict[str, Any]]:
    response = await client.get(PATH, params=parameters)
    assert response.status == 200, await response.text()
    found: list[dict[str, Any]] = (await response.json())["items"]
    return found


@pytest.mark.parametrize(
    "statement", ["UPDATE access_log SET caller = ''", "DELETE FROM access_log", "TRUNCATE access_log"]
)
async def test_the_database_refuses_every_change(connection: Connection, database_dsn: str, statement: str) -> None:
    await access_log.record(connection, Entry(Action.KEY_CREATED, "k"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    superuser = await asyncpg.connect(database_dsn, user="postgres")
    for role in ("origin", "replica"):
        await superuser.execute(f"SET session_replication_role = {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await superuser.execute(statement)
    await superuser.close()
    assert await connection.fetchval("SELECT caller FROM access_log") == "k"


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "done"), (NotParkedError("planted"), "refused"), (OSError("planted"), "failed")]
)
async def test_a_command_is_recorded_with_the_user_of_the_host(
    connection: Connection, error: Exception | None, outcome: str
) -> None:
    with suppress(NotParkedError, OSError):
        async with recorded(connection, Action.PARKED_RETRIED, "things") as detail:
            detail["applied"] = 3
            if error is not None:
                raise error
    row = await connection.fetchrow("SELECT caller, target, outcome, detail::text AS detail, status FROM access_log")
    assert row is not None
    assert tuple(row) == (f"host:{getpass.getuser()}", "things", outcome, '{"applied": 3}', None)


async def test_an_entry_is_a_part_of_the_transaction_of_its_action(connection: Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await access_log.record(connection, Entry(Action.KEY_REVOKED, "k", target="other"))
    await transaction.rollback()
    assert await connection.fetchval("SELECT count(*) FROM access_log") == 0


async def test_any_text_can_be_recorded(connection: Connection, client: Client) -> None:
    strange = "\0\ud800é" + "x" * 5_000
    entry = Entry(
        Action.KEY_CREATED, strange, strange, strange, address=strange, request_id=strange, detail={"a": strange}
    )
    await access_log.record(connection, entry)
    (item,) = await items(client)
    assert item["caller"].startswith("\ufffd?éx")
    assert {len(item[name]) for name in ("caller", "caller_name", "target", "address", "request_id")} == {300}


async def test_a_retry_is_recorded_with_its_caller_and_what_came_of_it(
    client: Client, writer: AccessLogWriter, pool: Pool
) -> None:
    headers = {"Test-Caller": "key-1", "X-Request-Id": "mine"}
    for projection, status in (("things", 200), ("others", 404)):
        answer = await client.post(f"/api/v1/parked/{projection}/retry", json={"all": True}, headers=headers)
        assert answer.status == status

    async def are_written() -> bool:
        return bool(await pool.fetchval("SELECT count(*) = 2 FROM access_log"))

    await until(are_written, 10)
    refused, done = await items(client, action="parked.retried")
    assert done.pop("position") < refused.pop("position")
    assert done.pop("at").endswith("Z")
    assert done == {
        "caller": "key-1",
        "caller_name": "name of key-1",
        "action": "parked.retried",
        "target": "things",
        "outcome": "done",
        "status": 200,
        "detail": {"discarded": 0, "applied": 3, "still_parked": 1},
        "request_id": "mine",
        "address": "127.0.0.1",
    }
    assert (refused["outcome"], refused["status"], refused["detail"]) == ("refused", 404, {})


async def test_a_discard_that_fails_is_recorded_without_its_reason(client: Client, pending: PendingEntries) -> None:
    body = {"position": 1, "reason": "a secret reason"}
    assert (await client.post("/api/v1/parked/things/discard", json=body)).status == 503
    (entry,) = pending.take(9)
    assert (entry.action, entry.outcome, entry.target) == (Action.PARKED_DISCARDED, ActionOutcome.FAILED, "things")
    assert "secret" not in str(entry)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_recorded_by_its_route(client: Client, pending: PendingEntries, status: int) -> None:
    assert (await client.get(f"/refused/{status}?secret=1")).status == status
    (entry,) = pending.take(9)
    assert (entry.outcome, entry.status, entry.detail) == (ActionOutcome.REFUSED, status, {"code": "planted"})
    assert entry.target == "GET /refused/{status}"


@pytest.mark.parametrize("status", [400, 404, 429, 503])
async def test_no_other_problem_is_a_refusal(client: Client, pending: PendingEntries, status: int) -> None:
    assert (await client.get(f"/refused/{status}")).status == status
    assert pending.take(9) == []


@pytest.mark.parametrize(("path", "action"), [(PATH, "access_log.read"), ("/api/v1/events", "audit_log.read")])
async def test_who_reads_a_log_is_recorded_where_callers_are_known(
    client: Client, pending: PendingEntries, path: str, action: str
) -> None:
    await client.get(path)
    assert pending.take(9) == []
    await client.get(path, headers={"Test-Caller": "reader"})
    (entry,) = pending.take(9)
    assert (entry.action, entry.caller, entry.target) == (action, "reader", path)


async def test_entries_wait_while_postgresql_is_away(database_dsn: str, pending: PendingEntries, pool: Pool) -> None:
    closed = Database(pool_size=2, timeout_seconds=5)
    writer = AccessLogWriter(closed, pending)
    await writer.start()
    pending.add(Entry(Action.PARKED_RETRIED, "k"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(pending) == 1
    await closed.open(database_dsn)

    async def is_written() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM access_log"))

    await until(is_written, 20)
    await writer.stop()
    closed.close()
    assert pending.lost == 0


async def test_a_worker_that_stops_writes_what_waits(database: Database, pending: PendingEntries, pool: Pool) -> None:
    writer = AccessLogWriter(database, pending)
    await writer.start()
    pending.add(Entry(Action.KEY_CREATED, ""))

    async def is_writing() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM access_log"))

    await until(is_writing, 10)
    for _ in range(12):
        pending.add(Entry(Action.REQUEST_REFUSED, "", outcome=ActionOutcome.REFUSED, address="192.0.2.1"))
    await writer.stop()
    assert await pool.fetchval("SELECT count(*) FROM access_log") == 12
    assert await pool.fetchval("SELECT detail->>'left_out' FROM access_log ORDER BY position DESC LIMIT 1") == "2"


async def test_entries_are_read_newest_first_in_pages_with_filters(client: Client, connection: Connection) -> None:
    await access_log.record(
        connection, *(Entry(Action.KEY_CREATED, f"k{number % 2}", target=str(number)) for number in range(7))
    )
    await connection.execute(
        "INSERT INTO access_log (at, caller, caller_name, action, target, outcome)"
        " VALUES ('2020-01-01Z', 'k0', '', 'key.revoked', 'old', 'done')"
    )
    assert [one["target"] for one in await items(client, action="key.created")] == list("6543210")
    assert [one["target"] for one in await items(client, caller="k1")] == list("531")
    assert [one["target"] for one in await items(client, to="2021-01-01T00:00:00Z")] == ["old"]
    assert len(await items(client, **{"from": "2021-01-01T00:00:00Z"})) == 7
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await (await client.get(PATH, params={"limit": "3", "caller": "k0", **cursor})).json()
        seen += [one["target"] for one in answer["items"]]
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert seen == ["old", *"6420"]


@pytest.mark.parametrize("query", ["action=nothing", "from=soon", "limit=0", "cursor=x", "who=me", "caller=%00"])
async def test_a_query_that_is_not_valid_is_400(client: Client, query: str) -> None:
    response = await client.get(f"{PATH}?{query}")
    assert response.status == 400
    assert (await response.json())["code"] == "invalid_query"


async def test_a_batch_with_events_of_others_is_one_refusal(database: Database) -> None:
    pending = PendingEntries(time.monotonic)
    group_commit = GroupCommit(database, max_queued_events=10, committed=lambda: None)
    door = Door(group_commit, EventTypes([]), Limits(), noted=WhoDidWhat(pending).refused)
    application = make_application(door.routes(), 10_000)
    application.middlewares.append(calling_with(may(sources="/a/")))
    events = [{"specversion": "1.0", "id": "1", "type": "t", "source": source} for source in ("/a/1", "/b/1", "/b/2")]
    async with TestClient(TestServer(application)) as client, client.post("/api/v1/events", json=events) as answer:
        assert answer.status == 207
    (entry,) = pending.take(10)
    assert (entry.action, entry.outcome, entry.detail) == (
        Action.REQUEST_REFUSED,
        ActionOutcome.REFUSED,
        {"code": "not_yours"},
    )
