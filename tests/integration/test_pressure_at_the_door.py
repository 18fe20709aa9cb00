"""What the door answers when more comes than it can take: 429 or 503, with a time to come back."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from headrace.access.caller import Caller
from headrace.access.scopes import ALL_SCOPES
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from tables.database import Database, Pool
from tables.intake.backlog import Backlog, Depth
from tables.intake.disk_space import DiskSpace
from tables.intake.group_commit import GroupCommit
from web.access.credentials import set_caller
from web.access.limits import UNLIMITED, RateLimits, Rates
from web.ingestion.door import Door
from web.requests.bodies import BodyBudget
from web.server.server import make_application

from tests.support.waiting import until

EVENTS = "/api/v1/events"
EVENT = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "tested"}
PLAIN = {"Content-Type": "application/json"}


class Place:
    """A door with the parts that make it refuse."""

    def __init__(self, database: Database, *, budget_bytes: int = 100_000, rates: Rates = UNLIMITED) -> None:
        self.disk_space = DiskSpace()
        self.backlog = Backlog(max_events=100, max_bytes=10**9)
        self.budget = BodyBudget(budget_bytes)
        self.group = GroupCommit(database, max_queued_events=5, committed=lambda: None, disk_space=self.disk_space)
        self.door = Door(
            self.group,
            EventTypes([], refuse_unknown=False),
            Limits(),
            backlog=self.backlog,
            body_budget=self.budget,
            rates=RateLimits(rates),
        )

    def client(self) -> TestClient[Any, Any]:
        return TestClient(TestServer(make_application(self.door.routes(), 1_000_000)))


@web.middleware
async def calling(request: web.Request, handler: Handler) -> web.StreamResponse:
    set_caller(request, Caller(request.headers["Test-Caller"], "", ALL_SCOPES))
    return await handler(request)


@pytest.fixture
def place(database: Database) -> Place:
    return Place(database)


async def test_an_outbox_beyond_its_limit_is_429_until_it_is_drained(place: Place) -> None:
    async with place.client() as client:
        place.backlog.note(Depth(5_000, 0, 1.0, 0), at=1.0)
        async with client.post(EVENTS, json=EVENT) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "30"
            assert (await response.json())["code"] == "outbox_full"
        place.backlog.note(Depth(99, 0, 1.0, 4_901), at=2.0)
        async with client.post(EVENTS, json=EVENT) as response:
            assert response.status == 202


@pytest.mark.parametrize(("events", "is_batch"), [(1, False), (2, True)])
@pytest.mark.parametrize("rates", [Rates(events_per_second=1, burst_seconds=1), Rates(bytes_per_second=10)])
async def test_a_caller_beyond_its_limits_is_429_and_stores_nothing(
    database: Database, pool: Pool, rates: Rates, events: int, is_batch: bool
) -> None:
    body = [EVENT | {"id": str(number)} for number in range(events)]
    client = Place(database, rates=rates).client()
    client.app.middlewares.append(calling)
    async with client:

        async def post(caller: str) -> Any:
            return await client.post(EVENTS, json=body if is_batch else body[0], headers={"Test-Caller": caller})

        assert (await post("greedy")).status == 202
        response = await post("greedy")
        assert (response.status, (await response.json())["code"]) == (429, "rate_limited")
        assert int(response.headers["Retry-After"]) > 0
        assert (await post("modest")).status in {200, 202}
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE received_by = 'greedy'") == events


async def test_a_full_disk_is_503_with_a_code_of_its_own(place: Place) -> None:
    async with place.client() as client:
        place.disk_space.note_error(asyncpg.DiskFullError("could not extend file"))
        async with client.post(EVENTS, json=EVENT) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "30"
            assert (await response.json())["code"] == "database_full"
        place.disk_space.mark_free()
        async with client.post(EVENTS, json=EVENT) as response:
            assert response.status == 202


async def test_a_connection_too_many_is_503(place: Place, database: Database) -> None:
    async with place.client() as client:
        database.close()
        async with client.post(EVENTS, json=EVENT) as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0


async def test_bodies_that_come_slowly_share_a_budget(place: Place) -> None:
    go_on = asyncio.Event()

    async def slow_body() -> Any:
        yield b'{"specversion": "1.0", "id": "1", "source": "/tests", "type": "tested", "data": "' + b"x" * 70_000
        await go_on.wait()
        yield b'"}'

    async with place.client() as client:
        slow = asyncio.create_task(client.post(EVENTS, data=slow_body(), headers=PLAIN))

        async def is_held() -> bool:
            return place.budget.held_bytes >= 70_000

        await until(is_held, 10)
        async with client.post(EVENTS, data=slow_body(), headers=PLAIN) as refused:
            assert refused.status == 429
            assert (await refused.json())["code"] == "too_many_bodies"
            assert int(refused.headers["Retry-After"]) > 0
        go_on.set()
        async with await slow as taken:
            assert taken.status == 202
        assert place.budget.held_bytes == 0


async def test_a_small_request_that_unpacks_to_much_is_413_and_held_no_longer(database: Database) -> None:
    place = Place(database, budget_bytes=10**9)
    body = gzip.compress(json.dumps({**EVENT, "data": "x" * 5_000_000}).encode())

    async def in_parts() -> Any:
        for start in range(0, len(body), 1_000):
            yield body[start : start + 1_000]
            await asyncio.sleep(0)

    async with place.client() as client:
        headers = {**PLAIN, "Content-Encoding": "gzip"}
        async with client.post(EVENTS, data=in_parts(), headers=headers) as response:
            assert response.status == 413
        assert place.budget.held_bytes == 0
