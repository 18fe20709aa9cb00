"""A whole worker that the tests of a module share, with a database and a topic of its own, and a client for both ports.

tests/conftest.py registers this module. Each test takes names of its own: others have left events and rows.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from yarl import URL

from tests.support.servers.fresh import new_database, new_topic
from tests.support.servers.worker_process import WorkerProcess

SECONDS = 60
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
WAIT = {"Prefer": f"wait={SECONDS}"}
"""The answer comes when every projection has applied what was posted."""
_numbers = itertools.count(1)


class Answer(NamedTuple):
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body, read as JSON."""
        return json.loads(self.body)


class System(NamedTuple):
    """A worker and what it works with."""

    worker: WorkerProcess
    dsn: str
    bootstrap_servers: str
    topic: str

    async def post(self, body: Any, headers: Mapping[str, str] = STRUCTURED, path: str = "/api/v1/events") -> Answer:
        """Post bytes as they are, anything else as JSON."""
        data = BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        return await self._ask("POST", URL(self.worker.ingestion + path, encoded=True), data=data, headers=headers)

    async def door(self, path: str) -> Answer:
        """Get from the ingestion port."""
        return await self._ask("GET", URL(self.worker.ingestion + path, encoded=True))

    async def get(
        self, path: str, parameters: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Get from the query port."""
        return await self._ask("GET", URL(self.worker.query + path, encoded=True), params=parameters, headers=headers)

    async def log(self, **filters: str) -> list[dict[str, Any]]:
        """Items of the audit log."""
        answer = await self.get("/api/v1/events", filters)
        assert answer.status == 200, answer
        items: list[dict[str, Any]] = answer.json["items"]
        return items

    async def _ask(self, method: str, url: URL, **options: Any) -> Answer:
        timeout = aiohttp.ClientTimeout(total=2 * SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, **options) as response,
        ):
            return Answer(response.status, response.headers, await response.read())


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[WorkerProcess]:
    """A worker that is ready; it must end well."""
    worker = WorkerProcess(folder, **settings)
    with _started(worker):
        await worker.ready()
        yield worker


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, postgres_dsn: str, kafka: str) -> Iterator[System]:
    """A worker with all three services and no limits but those that nobody set."""
    topic = new_topic()
    with new_database(postgres_dsn) as dsn:
        settings = {"DATABASE_URL": dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
        worker = WorkerProcess(tmp_path_factory.mktemp("system"), **settings)
        with _started(worker):
            asyncio.run(worker.ready())
            yield System(worker, dsn, kafka.removeprefix("kafka://"), topic)


@contextmanager
def _started(worker: WorkerProcess) -> Iterator[None]:
    worker.start()
    try:
        yield
    finally:
        code = worker.stop()
    assert code == 0, worker.log.read_text()[-4000:]


def envelope(source: str, **members: Any) -> dict[str, Any]:
    """An event with an id that no other has; members given as None are left out."""
    event = {"specversion": "1.0", "id": f"e{next(_numbers)}", "source": source, "type": "tested", **members}
    return {name: value for name, value in event.items() if value is not None}
