"""`/readyz` says whether all parts of a worker work, and why not; the door stays ready while Kafka is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tables.database import Pool

from tests.acceptance.test_worker import get, post
from tests.support.servers.fresh import free_port
from tests.support.servers.system import running
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

SECONDS = 60
STORED_IN_PARTITION_5 = """
INSERT INTO topic_partitions (partition, last_position, previous_position) VALUES (5, 1, 0)
"""


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


async def until_reported(address: str, part: str, state: str) -> dict[str, Any]:
    """Wait until the verbose report says this of the part; return what it says."""
    found: dict[str, Any] = {}

    async def is_reported() -> bool:
        try:
            _, report = await get(f"{address}/readyz?verbose")
        except aiohttp.ClientError:
            return False
        found.update(report["dependencies"].get(part, {}), status=report["status"])
        return bool(found.get("state") == state)

    await until(is_reported, SECONDS, lambda: f"{part} is {found}")
    return found


async def test_the_door_is_ready_while_kafka_is_away_and_reports_why_the_relay_waits(
    tmp_path: Path, database_dsn: str
) -> None:
    address = f"kafka://127.0.0.1:{free_port()}"
    async with running(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=address) as worker:
        relay = await until_reported(worker.ingestion, "relay", "away")
        assert "KafkaConnectionError" in relay["reason"]
        kafka = await until_reported(worker.query, "kafka", "away")
        assert "KafkaConnectionError" in kafka["reason"]
        assert relay["status"] == kafka["status"] == "ready"
        assert await post(worker.ingestion, "1") == 202


async def test_a_topic_with_too_few_partitions_is_not_ready(
    tmp_path: Path, settings: dict[str, str], pool: Pool
) -> None:
    await pool.execute(STORED_IN_PARTITION_5)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings["BROKER_URL"].removeprefix("kafka://"))
    await admin.start()
    await admin.create_topics([NewTopic(settings["TOPIC"], 1, 1)])
    await admin.close()
    worker = WorkerProcess(tmp_path, SERVICES="ingestion", **settings)
    worker.start()
    try:
        relay = await until_reported(worker.ingestion, "relay", "failing")
        assert "partitions" in relay["reason"]
        status, report = await get(f"{worker.ingestion}/readyz")
        assert (status, report["status"], set(report["problems"])) == (503, "not ready", {"relay"})
    finally:
        assert worker.stop() == 0


async def test_a_projection_that_waits_is_reported_with_its_error(tmp_path: Path, settings: dict[str, str]) -> None:
    async with running(tmp_path, FAULT_POINTS="projector.writing=raise", **settings) as worker:
        assert await post(worker.ingestion, "1") == 202
        handler = await until_reported(worker.query, "event_handler", "waiting")
        assert "fault point projector.writing" in handler["reason"]


async def test_an_event_handler_alone_serves_health_and_metrics(tmp_path: Path, settings: dict[str, str]) -> None:
    async with running(tmp_path, SERVICES="event_handler", **settings) as worker:
        assert (await get(f"{worker.health}/livez"))[1] == {"status": "ok"}
        await until_reported(worker.health, "event_handler", "ok")
        _, report = await get(f"{worker.health}/readyz?verbose")
        assert {one["state"] for one in report["dependencies"].values()} == {"ok"}
        assert set(report["dependencies"]) == {"postgresql", "disk", "event_handler", "kafka"}
        async with aiohttp.ClientSession() as session, session.get(f"{worker.health}/metrics") as response:
            assert "headrace_projector_batch_events_count" in await response.text()


async def test_an_event_handler_alone_is_not_ready_while_kafka_is_away(tmp_path: Path, database_dsn: str) -> None:
    address = f"kafka://127.0.0.1:{free_port()}"
    worker = WorkerProcess(tmp_path, SERVICES="event_handler", DATABASE_URL=database_dsn, BROKER_URL=address)
    worker.start()
    try:
        await until_reported(worker.health, "postgresql", "ok")
        status, report = await get(f"{worker.health}/readyz")
        assert (status, set(report["problems"])) == (503, {"kafka", "event_handler"})
    finally:
        assert worker.stop() == 0
