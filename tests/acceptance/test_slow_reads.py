"""Clients that ask for slow pages all the time: posts, single rows, status and projectors do not wait for them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tables.database import Pool

from tests.support.servers.system import running
from tests.support.waiting import until

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
CLIENTS = 40
POSTS = 25
SECONDS = 2.0
FILL = """
INSERT INTO projections (projection, key, state, position, version)
SELECT 'devices', 'd' || n, jsonb_build_object(
    'status', 'active', 'name', md5(n::text), 'model', repeat('m', 100), 'first_seen', '2026-01-01T00:00:00Z',
    'last_seen', '2026-01-01T00:00:00Z', 'readings', n % 1000, 'latest', '{}'::jsonb
), 1, 1
FROM generate_series(1, 150000) AS n
"""


class Asked:
    """What a client was answered, and how long the slowest answer took."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.slowest: dict[str, float] = {}

    async def ask(self, what: str, method: str, url: str, body: object = None) -> bytes:
        started = time.monotonic()
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, url, data=data, headers=STRUCTURED) as response:
            answer = await response.read()
            self.statuses[what, response.status] += 1
        self.slowest[what] = max(self.slowest.get(what, 0.0), time.monotonic() - started)
        return answer


@pytest.fixture(params=["8", "4"])
def settings(request: pytest.FixtureRequest, database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    addresses = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    return addresses | {"DATABASE_POOL_SIZE": request.param}


@pytest.mark.alone
async def test_slow_pages_stop_nobody_else(tmp_path: Path, settings: dict[str, str], pool: Pool) -> None:
    await pool.execute(FILL, timeout=120)
    no_limit = aiohttp.TCPConnector(limit=0)
    async with (
        running(tmp_path, **settings) as worker,
        aiohttp.ClientSession(connector=no_limit, timeout=aiohttp.ClientTimeout(total=30)) as session,
    ):
        asked = Asked(session)
        pages = f"{worker.query}/api/v1/projections/devices?limit=2&sort="
        fields = itertools.cycle(["name", "-name", "model", "-readings", "last_seen"])
        slow = [
            asyncio.create_task(forever(lambda: asked.ask("page", "GET", pages + next(fields)))) for _ in range(CLIENTS)
        ]
        try:
            await until(lambda: was_answered(asked, "page"), 30)
            for number in range(POSTS):
                reading = {"metric": "t", "value": number}
                event = {"specversion": "1.0", "id": str(number), "source": "/s", "subject": "d1", "data": reading}
                await asked.ask(
                    "post", "POST", f"{worker.ingestion}/api/v1/events", event | {"type": "reading.recorded"}
                )
                await asked.ask("row", "GET", f"{worker.query}/api/v1/projections/devices/d{number + 1}")
                await asked.ask("status", "GET", f"{worker.ingestion}/api/v1/events/status?source=/s&id={number}")
                await asked.ask("ready", "GET", f"{worker.query}/readyz")

            async def is_applied() -> bool:
                row = await asked.ask("row", "GET", f"{worker.query}/api/v1/projections/devices/d1")
                return bool(json.loads(row)["state"]["readings"] == 1 + POSTS)

            await until(is_applied, 10)
        finally:
            for one in slow:
                one.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
    assert {status for what, status in asked.statuses if what != "page"} <= {200, 202}, asked.statuses
    assert {status for what, status in asked.statuses if what == "page"} <= {200, 503}, asked.statuses
    assert asked.statuses["page", 200] > 0, "pages are still answered"
    asked.slowest.pop("page")
    assert max(asked.slowest.values()) < SECONDS, asked.slowest


async def forever(action: Callable[[], Awaitable[object]]) -> None:
    while True:
        await action()


async def was_answered(asked: Asked, what: str) -> bool:
    return what in asked.slowest
