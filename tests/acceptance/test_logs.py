"""The log of real workers: a start without problems reports none, and each line can be parsed."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.worker.banner import banner
from headrace.process.log_actions import LogAction

from tests.acceptance.test_worker import get, post
from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?P<level>[A-Z]+) (?P<logger>[\w.]+): \S.*")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ACTIONS = {str(action) for action in LogAction}
KAFKA_IS_AWAY_SECONDS = 8.0


def as_objects(worker: WorkerProcess) -> list[dict[str, Any]]:
    """The lines of a log in JSON."""
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    for line in lines:
        assert TIME.fullmatch(line["time"])
        assert line["action"] in ACTIONS
        assert line["level"] in {"INFO", "WARNING", "ERROR"}
    return lines


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_a_start_without_problems_logs_none(log_format: str) -> None:
    with server_folder() as folder:
        kafka_port, mqtt_port = free_port(), free_port()
        ports = {"EMBEDDED_KAFKA_PORT": str(kafka_port), "EMBEDDED_MQTT_PORT": str(mqtt_port)}
        worker = WorkerProcess(folder, LOG_FORMAT=log_format, MQTT_URL="", **ports)
        worker.start()
        try:
            await worker.ready()
            assert await post(worker.ingestion, "1") == 202

            async def there() -> bool:
                return (await get(f"{worker.query}/api/v1/projections/event_types/reading.recorded"))[0] == 200

            await until(there, 90)
        finally:
            assert worker.stop() == 0
        if log_format == "json":
            found = as_objects(worker)
            assert {one["action"] for one in found} >= {"relay.active", "worker.started", "worker.stopping"}
            levels = {one["level"] for one in found}
        else:
            settings = Settings(
                ingestion_port=worker.ingestion_port,
                query_port=worker.query_port,
                embedded_mqtt_port=mqtt_port,
                broker_url=f"kafka://127.0.0.1:{kafka_port}",
            )
            printed = banner(settings)
            log = worker.log.read_text()
            assert printed in log
            lines = [LINE.fullmatch(line) for line in log.replace(printed, "").splitlines()]
            assert all(lines), log
            levels = {line["level"] for line in lines if line}
        assert levels == {"INFO"}, worker.log.read_text()


async def test_kafka_away_is_a_warning_of_each_service_once_an_interval(tmp_path: Path, database_dsn: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    worker = WorkerProcess(
        tmp_path, LOG_FORMAT="json", DATABASE_URL=database_dsn, BROKER_URL=f"kafka://{address}", CONSUMER_GROUP="away"
    )
    worker.start()
    try:
        await worker.ready()
        await asyncio.sleep(KAFKA_IS_AWAY_SECONDS)  # to see that the lines do not repeat
    finally:
        assert worker.stop() == 0
    away = [line for line in as_objects(worker) if line["action"] == "kafka.unavailable"]
    assert Counter(line["service"] for line in away) == {"ingestion": 1, "event_handler": 1}
    assert all(line["level"] == "WARNING" and line["error"] for line in away)
    others = {line["action"] for line in as_objects(worker) if line["level"] != "INFO"} - {"kafka.unavailable"}
    assert others <= {"library", "postgres.role_too_powerful"}  # the role of the test owns its database


async def test_a_worker_that_cannot_start_says_why_in_json_too(tmp_path: Path, database_dsn: str) -> None:
    worker = WorkerProcess(tmp_path, LOG_FORMAT="json", DATABASE_URL=database_dsn, BROKER_URL="kafka://127.0.0.1:9")
    worker.set(QUERY_PORT=str(worker.ingestion_port), QUERY_HOST="localhost")
    worker.start()
    assert await asyncio.to_thread(worker.process.wait, 60) == 1
    last = json.loads(worker.log.read_text().splitlines()[-1])
    assert (last["action"], last["level"]) == ("worker.failed", "CRITICAL")
    assert "QUERY_PORT" in last["message"]
