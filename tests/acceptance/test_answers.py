"""What every answer of both ports carries, and what none does, route by route from the OpenAPI documents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.support.servers.worker_process import WorkerProcess

SECRET = "what-nobody-else-may-see"  # noqa: S105 - a word to look for
NAMES = {"key": "none", "projection": "devices", "position": "1", "type": "device.registered"}


@pytest.fixture
async def worker(tmp_path: Path, database_dsn: str, kafka: str, topic: str) -> AsyncIterator[WorkerProcess]:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    started = WorkerProcess(tmp_path, MQTT_URL="off", **settings)
    started.start()
    try:
        await started.ready()
        yield started
    finally:
        assert started.stop() == 0


async def document(session: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    async with session.get(f"{address}/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        found: dict[str, Any] = await response.json()
        return found


def check_headers(response: aiohttp.ClientResponse) -> None:
    where = f"{response.method} {response.url} {response.status}"
    assert response.headers["X-Content-Type-Options"] == "nosniff", where
    assert response.headers["Cache-Control"] in {"no-store", "no-cache"}, where
    assert not {"Server", "X-Powered-By", "Via"} & set(response.headers), where
    assert "Access-Control-Allow-Origin" not in response.headers, where
    if "html" in response.content_type:
        assert "default-src 'none'" in response.headers["Content-Security-Policy"], where
    if response.status >= 400 and not response.url.path.startswith("/readyz") and response.method != "HEAD":
        assert response.content_type == "application/problem+json", where


async def test_every_route_answers_with_the_headers_of_security(worker: WorkerProcess) -> None:
    asked = 0
    async with aiohttp.ClientSession() as session:
        for address in (worker.ingestion, worker.query):
            for path in [*(await document(session, address))["paths"], "/nothing-is-here", "/api/v1/events/"]:
                url = URL(address + path.format(**NAMES))
                for method in ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
                    async with session.request(method, url, data=None if method in {"GET", "HEAD"} else b"{") as answer:
                        check_headers(answer)
                        assert answer.status < 500, f"{method} {url}"
                        assert answer.status != 405 or answer.headers["Allow"]
                        asked += 1
    assert asked > 7 * 20


async def test_no_answer_repeats_what_was_sent_in_a_body(worker: WorkerProcess) -> None:
    bodies = [f'{{"{SECRET}"', f'{{"{SECRET}": 1}}', f'{{"reason": ["{SECRET}"]}}', f'"{SECRET}"', f'["{SECRET}"]']
    async with aiohttp.ClientSession() as session:
        for address in (worker.ingestion, worker.query):
            for path, methods in (await document(session, address))["paths"].items():
                if "post" not in methods:
                    continue
                for body in bodies:
                    headers = {"Content-Type": "application/json"}
                    async with session.post(address + path.format(**NAMES), data=body, headers=headers) as answer:
                        assert 400 <= answer.status < 500, path
                        told = await answer.text()
                        assert SECRET not in told.replace(f'"/{SECRET}"', "")  # a pointer has an attribute's name
                        assert SECRET not in str(answer.headers)
