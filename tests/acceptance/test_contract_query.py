"""The query port of a whole worker: a test for each row of the contract's table."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.servers.worker_process import WorkerProcess

_numbers = itertools.count(1)
SOURCE = "/contract"


@pytest.fixture
async def worker(tmp_path: Path, database_dsn: str, kafka: str, topic: str) -> AsyncIterator[WorkerProcess]:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    started = WorkerProcess(tmp_path, **settings)
    started.start()
    try:
        await started.ready()
        yield started
    finally:
        assert started.stop() == 0


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Client:
    """Posts readings and asks."""

    def __init__(self, http: aiohttp.ClientSession, worker: WorkerProcess) -> None:
        self.http = http
        self.worker = worker

    async def post(self, subject: str, value: float, metric: str = "temperature") -> dict[str, str]:
        """The parameters that name the event."""
        event_id = str(next(_numbers))
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": SOURCE,
            "type": "reading.recorded",
            "subject": subject,
            "time": "2026-11-22T08:15:00Z",
            "data": {"metric": metric, "value": value},
        }
        async with self.http.post(f"{self.worker.ingestion}/api/v1/events", json=event) as response:
            assert response.status == 202, await response.text()
        return {"source": SOURCE, "id": event_id}

    async def get(self, path: str, **parameters: str) -> Any:
        async with self.http.get(f"{self.worker.query}{path}", params=parameters) as response:
            assert response.status == 200, await response.text()
            return json.loads(await response.read())


@pytest.fixture
async def client(http: aiohttp.ClientSession, worker: WorkerProcess) -> Client:
    return Client(http, worker)


async def test_get_projections(client: Client) -> None:
    """One for each projection: name, description, fields, state, position, lag_events, lag_seconds."""
    event = await client.post("dev-1", 21.5)
    for name in ("devices", "readings_hourly", "event_types"):
        await client.get(f"/api/v1/projections/{name}", **event, wait="60")
    items = (await client.get("/api/v1/projections"))["items"]
    assert [item["name"] for item in items] == ["devices", "readings_hourly", "event_types"]
    for item in items:
        assert list(item) == ["name", "description", "fields", "state", "position", "lag_events", "lag_seconds"]
        assert (item["state"], item["position"], item["lag_events"], item["lag_seconds"]) == ("live", 1, 0, 0)
    assert items[0]["fields"]["readings"] == {"kind": "number"}


async def test_get_projections_name(client: Client) -> None:
    """Items and next_cursor; limit, cursor, sort, and filters on declared fields; another field is 400."""
    for number in range(5):
        event = await client.post(f"dev-{number}", number)
    path = "/api/v1/projections/readings_hourly"
    page = await client.get(path, **event, wait="60", limit="2", sort="-last", **{"last[gte]": "1"})
    assert [item["state"]["last"] for item in page["items"]] == [4, 3]
    rest = await client.get(path, limit="2", sort="-last", cursor=page["next_cursor"], **{"last[gte]": "1"})
    assert [item["state"]["last"] for item in rest["items"]] == [2, 1]
    assert rest["next_cursor"] is None
    for operator, value, count in (("gt", "1", 3), ("lt", "1", 1), ("lte", "1", 2), ("ne", "1", 4), ("in", "1,2", 2)):
        assert len((await client.get(path, **{f"last[{operator}]": value}))["items"]) == count
    assert len((await client.get(path, **{"device[prefix]": "dev-"}))["items"]) == 5
    assert len((await client.get(path, device="dev-3"))["items"]) == 1
    async with client.http.get(f"{client.worker.query}{path}?colour=red") as response:
        assert response.status == 400
        assert "device (text)" in await response.text()


async def test_get_projections_name_key(client: Client) -> None:
    """The row with ETag; If-None-Match gives 304; 404 problem; the key may hold any character."""
    event = await client.post("dev/1 ü", 21.5)
    path = "/api/v1/projections/devices/dev%2F1%20%C3%BC"
    async with client.http.get(f"{client.worker.query}{path}", params={**event, "wait": "60"}) as response:
        row = await response.json()
        etag = response.headers["ETag"]
    assert list(row) == ["projection", "key", "position", "version", "updated_at", "state"]
    assert row["key"] == "dev/1 ü"
    async with client.http.get(f"{client.worker.query}{path}", headers={"If-None-Match": etag}) as response:
        assert response.status == 304
    async with client.http.get(f"{client.worker.query}/api/v1/projections/devices/nobody") as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"


async def test_source_id_wait_on_either(client: Client) -> None:
    """Answers once that event is applied, else 503 with Retry-After."""
    for number in range(10):
        event = await client.post("dev-1", number)
        for path in ("/api/v1/projections/devices/dev-1", "/api/v1/projections/devices"):
            answer = await client.get(path, **event, wait="60")
            row = answer if "key" in answer else answer["items"][0]
            assert row["state"]["readings"] == number + 1
    never = {"source": SOURCE, "id": "never", "wait": "0.1"}
    async with client.http.get(f"{client.worker.query}{path}", params=never) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0


async def test_get_projections_name_changes(client: Client) -> None:
    """Server-sent events, one for each changed row; Last-Event-ID resumes. SIGTERM does not wait for streams."""
    address = f"{client.worker.query}/api/v1/projections/devices/changes"
    unlimited = aiohttp.ClientTimeout(total=60)
    async with client.http.get(address, timeout=unlimited) as stream:
        assert stream.content_type == "text/event-stream"
        await client.post("dev-1", 1)
        lines = await until_data(stream)
        row = json.loads(lines["data"])
        assert row == await client.get("/api/v1/projections/devices/dev-1")
    await client.post("dev-2", 1)
    async with client.http.get(address, headers={"Last-Event-ID": lines["id"]}, timeout=unlimited) as stream:
        assert json.loads((await until_data(stream))["data"])["key"] == "dev-2"
        client.worker.stop()
        while await stream.content.readline():
            pass


async def until_data(stream: aiohttp.ClientResponse) -> dict[str, str]:
    """The fields of the next event that has data."""
    fields: dict[str, str] = {}
    while line := (await stream.content.readline()).decode():
        name, _, value = line.rstrip("\n").partition(": ")
        fields[name] = value
        if line == "\n" and "data" in fields:
            return fields
    raise AssertionError("the stream has ended")


async def test_get_events(client: Client) -> None:
    """The audit log from event_store: filters type, source, subject, after, from, to; cursor."""
    for subject in ("dev-1", "dev-2", "dev-1"):
        event = await client.post(subject, 1)
    await client.get("/api/v1/projections/devices", **event, wait="60")
    log = await client.get("/api/v1/events", type="reading.recorded", source=SOURCE, subject="dev-1", limit="1")
    assert [item["position"] for item in log["items"]] == [1]
    more = await client.get(
        "/api/v1/events",
        type="reading.recorded",
        source=SOURCE,
        subject="dev-1",
        limit="1",
        cursor=log["next_cursor"],
    )
    assert [item["position"] for item in more["items"]] == [3]
    assert [item["position"] for item in (await client.get("/api/v1/events", after="1"))["items"]] == [2, 3]
    times = {"from": "2026-11-22T08:15:00Z", "to": "2026-11-22T08:15:01Z"}
    assert len((await client.get("/api/v1/events", **times))["items"]) == 3
    assert (await client.get("/api/v1/events", **{"from": times["to"]}))["items"] == []


async def test_as_of_on_one_row(client: Client) -> None:
    """Its state as it was, folded from the event store by the same functions."""
    for number in range(1, 4):
        event = await client.post("dev-1", number)
    await client.get("/api/v1/projections/devices", **event, wait="60")
    for number in range(1, 4):
        row = await client.get("/api/v1/projections/devices/dev-1", as_of=str(number))
        assert (row["position"], row["state"]["readings"]) == (number, number)
        hour = await client.get(
            "/api/v1/projections/readings_hourly/dev-1/temperature/2026-11-22T08", as_of=str(number)
        )
        assert hour["state"]["last"] == number
        types = await client.get("/api/v1/projections/event_types/reading.recorded", as_of=str(number))
        assert types["state"]["count"] == number
