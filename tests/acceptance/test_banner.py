"""The banner: it comes when an event that is posted then is visible at once, and not before."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.test_worker import get, post
from tests.support.servers.fresh import free_port
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

UP = "Headrace is up"
VISIBLE_SECONDS = 1.0
SECONDS = 60


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


async def is_up(worker: WorkerProcess) -> None:
    async def printed() -> bool:
        assert worker.process.poll() is None, worker.log.read_text()
        return UP in worker.log.read_text()

    await until(printed, SECONDS, worker.log.read_text)


async def test_an_event_that_is_posted_at_the_banner_is_visible_at_once(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    try:
        await is_up(worker)
        posted = time.monotonic()
        assert await post(worker.ingestion, "1", subject="dev-1") == 202

        async def visible() -> bool:
            return (await get(f"{worker.query}/api/v1/projections/devices/dev-1"))[0] == 200

        await until(visible, SECONDS)
        assert time.monotonic() - posted < VISIBLE_SECONDS
    finally:
        assert worker.stop() == 0


async def test_the_commands_of_the_banner_work_as_soon_as_they_are_printed(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    try:
        await is_up(worker)
        printed = worker.log.read_text().partition("Try:\n\n")[2]
        (posting, getting) = re.findall(r"^  (curl .*(?:\n    .*)*)$", printed, re.MULTILINE)
        answers = [
            await asyncio.to_thread(subprocess.run, ["bash", "-c", one], capture_output=True, text=True, check=True)
            for one in (posting, getting)
        ]
        assert '"key":"dev-1"' in answers[1].stdout, answers
    finally:
        assert worker.stop() == 0


async def test_one_line_says_when_the_event_handler_has_its_partitions(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    worker = WorkerProcess(tmp_path, SERVICES="event_handler", TOPIC_PARTITIONS="3", **settings)
    worker.start()
    try:
        await is_up(worker)
        lines = [line for line in worker.log.read_text().splitlines() if "partitions 0, 1, 2 of topic" in line]
        assert len(lines) == 1
    finally:
        assert worker.stop() == 0


async def test_the_banner_does_not_come_while_kafka_is_away(tmp_path: Path, database_dsn: str) -> None:
    worker = WorkerProcess(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=f"kafka://127.0.0.1:{free_port()}")
    worker.start()
    try:
        await worker.ready()
        assert await post(worker.ingestion, "1") == 202

        async def says_what_it_waits_for() -> bool:
            return "Not up yet" in worker.log.read_text()

        await until(says_what_it_waits_for, SECONDS)
        log = worker.log.read_text()
        assert UP not in log
        assert "relay" in log.partition("Not up yet")[2].splitlines()[0]
    finally:
        assert worker.stop() == 0


async def test_a_worker_is_up_although_other_event_handlers_have_all_partitions(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    workers = [WorkerProcess(tmp_path, SERVICES="event_handler", TOPIC_PARTITIONS="1", **settings) for _ in range(2)]
    try:
        for worker in workers:
            worker.start()
            await is_up(worker)
    finally:
        assert [worker.stop() for worker in workers] == [0, 0]
