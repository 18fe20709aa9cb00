"""`POST /api/v1/events`, row by row of the contract's tables, on a real database."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from agents.projections.devices import devices
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from tables.database import Database, Pool
from tables.intake.group_commit import GroupCommit
from web.ingestion.door import Door
from web.ingestion.event_status import EventStories
from web.server.health import Health
from web.server.server import make_application

from tests.support.doors.hot_server import HotServer

EVENTS = "/api/v1/events"
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
PLAIN = {"Content-Type": "application/json"}
MAX_BODY_BYTES = 1_000_000

Client = TestClient[Any, Any]


def make_client(database: Database, *, refuse_unknown: bool = False, max_queued_events: int = 1_000) -> Client:
    group = GroupCommit(database, max_queued_events=max_queued_events, committed=lambda: None)
    door = Door(group, EventTypes([devices], refuse_unknown=refuse_unknown), Limits(batch_events=100))
    health = Health(needs={"postgresql": database.answers})
    routes = [*door.routes(), *EventStories(database, ["devices"]).routes(), *health.routes()]
    return TestClient(HotServer(make_application(routes, MAX_BODY_BYTES), [door.hot_path()]))


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with make_client(database) as opened:
        yield opened


def envelope(event_id: str = "1", **members: Any) -> dict[str, Any]:
    event = {"specversion": "1.0", "id": event_id, "source": "/tests", "type": "tested", "data": {"n": 1}, **members}
    return {name: value for name, value in event.items() if value is not None}


async def post(client: Client, body: Any, headers: dict[str, str] = PLAIN) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body)
    async with client.post(EVENTS, data=data, headers=headers) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in response.headers
        answer = await response.json(content_type=None)
        if response.status >= 400 and "results" not in answer:
            assert response.content_type == "application/problem+json"
            assert answer["status"] == response.status
            assert {"type", "title", "detail", "code"} <= answer.keys()
        return response.status, answer


async def stored_ids(pool: Pool) -> list[str]:
    return [row["id"] for row in await pool.fetch("SELECT id FROM outbox ORDER BY seq")]


async def test_one_new_event(client: Client, pool: Pool) -> None:
    async with client.post(EVENTS, json=envelope("a b/ü")) as response:
        assert response.status == 202
        assert await response.json() == {"id": "a b/ü", "source": "/tests", "status": "accepted"}
        assert response.headers["Location"] == "/api/v1/events/status?source=%2Ftests&id=a%20b%2F%C3%BC"
        async with client.get(response.headers["Location"]) as story:
            assert story.status == 200
    assert await stored_ids(pool) == ["a b/ü"]


@pytest.mark.parametrize("headers", [STRUCTURED, PLAIN], ids=["cloudevents+json", "json with an object"])
async def test_one_structured_event(client: Client, pool: Pool, headers: dict[str, str]) -> None:
    assert (await post(client, envelope("1"), headers))[0] == 202
    assert await stored_ids(pool) == ["1"]


async def test_the_same_event_again(client: Client, pool: Pool) -> None:
    await post(client, envelope())
    assert await post(client, envelope()) == (200, {"id": "1", "source": "/tests", "status": "duplicate"})
    assert await stored_ids(pool) == ["1"]


async def test_same_id_and_source_other_content(client: Client, pool: Pool) -> None:
    await post(client, envelope())
    status, answer = await post(client, envelope(data={"n": 2}))
    assert (status, answer["code"]) == (409, "id_conflict")
    kept = await pool.fetchval("SELECT event->'data'->>'n' FROM outbox")
    assert kept == "1"


@pytest.mark.parametrize("headers", [BATCH, PLAIN], ids=["cloudevents-batch+json", "json with an array"])
async def test_a_batch_all_accepted_or_duplicate(client: Client, pool: Pool, headers: dict[str, str]) -> None:
    await post(client, envelope("2"))
    status, answer = await post(client, [envelope("1"), envelope("2"), envelope("3"), envelope("1")], headers)
    assert status == 202
    assert answer == {
        "accepted": 2,
        "duplicates": 2,
        "rejected": 0,
        "results": [
            {"index": 0, "id": "1", "source": "/tests", "status": "accepted"},
            {"index": 1, "id": "2", "source": "/tests", "status": "duplicate"},
            {"index": 2, "id": "3", "source": "/tests", "status": "accepted"},
            {"index": 3, "id": "1", "source": "/tests", "status": "duplicate"},
        ],
    }
    assert sorted(await stored_ids(pool)) == ["1", "2", "3"]


async def test_a_batch_some_refused_keeps_the_good_ones(client: Client, pool: Pool) -> None:
    await post(client, envelope("old"))
    batch = [envelope("1"), envelope("2", specversion="0.3"), envelope("old", data=0), None, envelope("3")]
    status, answer = await post(client, batch, BATCH)
    assert status == 207
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (2, 0, 3)
    assert [(one["index"], one["status"]) for one in answer["results"]] == [
        (0, "accepted"),
        (1, "rejected"),
        (2, "rejected"),
        (3, "rejected"),
        (4, "accepted"),
    ]
    assert answer["results"][1]["error"]["errors"][0]["pointer"] == "/specversion"
    assert answer["results"][2]["error"]["code"] == "id_conflict"
    assert answer["results"][2]["id"] == "old"
    assert await stored_ids(pool) == ["old", "1", "3"]


async def test_a_batch_none_accepted(client: Client, pool: Pool) -> None:
    status, answer = await post(client, [{}, envelope(id=None)], BATCH)
    assert status == 422
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (0, 0, 2)
    assert [(one["index"], one["status"], one["error"]["status"]) for one in answer["results"]] == [
        (0, "rejected", 400),
        (1, "rejected", 400),
    ]
    assert await stored_ids(pool) == []


async def test_an_empty_batch_is_a_batch(client: Client) -> None:
    answer = {"accepted": 0, "duplicates": 0, "rejected": 0, "results": []}
    assert await post(client, [], BATCH) == (202, answer)


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        (b"{", "", "malformed_json"),
        (b"[1", "", "malformed_json"),
        (b"null", "", "not_an_object"),
        (b'{"specversion":"1.0","id":"1","source":"/s"}', "/type", "missing_attribute"),
        (json.dumps(envelope(id=7)).encode(), "/id", "invalid_type"),
        (json.dumps(envelope(time="yesterday")).encode(), "/time", "invalid_time"),
        (json.dumps(envelope(ID="x")).encode(), "/ID", "invalid_attribute_name"),
    ],
)
async def test_malformed_json_or_envelope(client: Client, pool: Pool, body: bytes, pointer: str, code: str) -> None:
    status, answer = await post(client, body)
    assert status == 400
    assert (pointer, code) in [(error["pointer"], error["code"]) for error in answer["errors"]]
    assert await stored_ids(pool) == []


async def test_data_that_does_not_fit_the_schema_of_a_known_type(client: Client, pool: Pool) -> None:
    reading = envelope(type="reading.recorded", subject="d", data={"metric": "t", "value": "warm"})
    status, answer = await post(client, reading)
    assert (status, answer["errors"][0]["pointer"]) == (422, "/data/value")
    status, answer = await post(client, [reading], BATCH)
    assert (status, answer["results"][0]["id"], answer["results"][0]["source"]) == (422, "1", "/tests")
    status, answer = await post(client, envelope(type="device.retired", data={}))
    assert (status, answer["errors"][0]["pointer"]) == (422, "/subject")
    assert await stored_ids(pool) == []


async def test_unknown_types_are_stored_unless_the_setting_rejects_them(database: Database, pool: Pool) -> None:
    async with make_client(database, refuse_unknown=True) as strict:
        status, answer = await post(strict, envelope())
        assert (status, answer["code"]) == (422, "unknown_type")
        assert (await post(strict, envelope(type="device.retired", subject="d", data=None)))[0] == 202


async def test_too_large(client: Client, pool: Pool) -> None:
    large = envelope(data="x" * 999_900)
    status, answer = await post(client, large)
    assert (status, answer["code"]) == (413, "event_too_large")
    status, _ = await post(client, b" " * (MAX_BODY_BYTES + 1))
    assert status == 413
    status, answer = await post(client, [envelope(str(n)) for n in range(101)], BATCH)
    assert (status, answer["code"]) == (413, "batch_too_large")
    assert await stored_ids(pool) == []


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/json; charset=utf-16", ""],
)
async def test_another_content_type(client: Client, content_type: str) -> None:
    status, answer = await post(client, json.dumps(envelope()).encode(), {"Content-Type": content_type})
    assert (status, answer["code"]) == (415, "unsupported_media_type")


async def test_gzip(client: Client, pool: Pool) -> None:
    packed = gzip.compress(json.dumps(envelope()).encode())
    status, _ = await post(client, packed, {**PLAIN, "Content-Encoding": "gzip"})
    assert status == 202
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES * 20))
    status, _ = await post(client, bomb, {**PLAIN, "Content-Encoding": "gzip"})
    assert status == 413
    status, answer = await post(client, b"{}", {**PLAIN, "Content-Encoding": "gzip"})
    assert (status, answer["code"]) == (400, "unreadable_body")


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "nonsense"])
async def test_another_content_encoding(client: Client, encoding: str) -> None:
    status, answer = await post(client, envelope(), {**PLAIN, "Content-Encoding": encoding})
    assert (status, answer["code"]) in {(415, "unsupported_encoding"), (400, "unreadable_body")}


async def test_a_full_queue(database: Database, pool: Pool) -> None:
    async with make_client(database, max_queued_events=1) as client, pool.acquire() as blocker:
        await blocker.execute("BEGIN")
        await blocker.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        posts = [asyncio.ensure_future(client.post(EVENTS, json=envelope(str(n)))) for n in range(5)]
        done, waiting = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().result()
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        await blocker.execute("ROLLBACK")
        statuses = {(await one).status for one in waiting}
        assert 202 in statuses <= {202, 429}


async def test_postgres_is_away(database_dsn: str) -> None:
    away = Database(pool_size=1, timeout_seconds=1)
    async with make_client(away) as client:
        for _ in range(2):
            async with client.post(EVENTS, json=envelope()) as response:
                assert response.status == 503
                assert response.headers["Retry-After"].isdecimal()
                assert (await response.json())["status"] == 503
        async with client.get("/readyz") as response:
            assert response.status == 503
        async with client.get("/livez") as response:
            assert response.status == 200
        await away.open(database_dsn)
        assert (await post(client, envelope()))[0] == 202
        async with client.get("/readyz?verbose") as response:
            assert (response.status, await response.json()) == (
                200,
                {"status": "ready", "dependencies": {"postgresql": {"state": "ok"}}},
            )
    away.close()


async def test_an_unknown_path_and_a_wrong_method_are_problems(client: Client) -> None:
    async with client.get("/nowhere") as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    async with client.get(EVENTS) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_the_story_of_an_event(client: Client, pool: Pool) -> None:
    await post(client, envelope(subject="s"))
    url = "/api/v1/events/status?source=/tests&id=1"
    async with client.get(url) as response:
        story = await response.json()
        assert (story["stored"], story["published"]) == (None, None)
        assert story["projections"] == {"devices": "waiting"}
        assert story["received"]["at"].endswith("Z")
    async with client.get("/api/v1/events/status?source=/tests&id=2") as response:
        assert (response.status, (await response.json())["code"]) == (404, "event_not_found")
    for wrong in ("", "?id=1", "?source=/tests&id=1&id=1", "?source=/tests&id=1&more=1"):
        async with client.get(f"/api/v1/events/status{wrong}") as response:
            assert response.status == 400
    async with client.get("/api/v1/events/status?source=%00&id=%ff") as response:
        assert response.status in {400, 404}
