"""Projections that do not move, in real workers: begun anew, told, and in the end the worker ends."""

from __future__ import annotations

import asyncio
import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.data.events import RECEIVED_AT
from tests.support.servers.worker_process import ROOT, WorkerProcess
from tests.support.waiting import until

# Short enough for a test, long enough for a busy machine to apply a batch.
STALL_SECONDS = "4"


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {
        "DATABASE_URL": database_dsn,
        "BROKER_URL": kafka,
        "TOPIC": topic,
        "CONSUMER_GROUP": topic,
        "STALL_SECONDS": STALL_SECONDS,
    }


async def post(worker: WorkerProcess, number: int, *, event_type: str = "tested") -> None:
    event = {"specversion": "1.0", "id": str(number), "source": "/tests", "type": event_type, "time": RECEIVED_AT}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{worker.ingestion}/api/v1/events", json=event) as response,
    ):
        assert response.status == 202


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json(content_type=None)


async def counted(worker: WorkerProcess, event_type: str) -> int:
    row = await get(f"{worker.query}/api/v1/projections/event_types/{event_type}")
    return int(row["state"]["count"]) if "state" in row else 0


async def logged(worker: WorkerProcess, text: str) -> bool:
    return text in worker.log.read_text()


async def ended(worker: WorkerProcess) -> bool:
    return worker.process.poll() is not None


async def test_a_batch_that_hangs_once_is_begun_anew_and_nothing_is_lost(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    # Each of the three projections takes the first batch; the fourth passage is the first that begins anew.
    worker = WorkerProcess(tmp_path, FAULT_POINTS="projector.fetched=sleep:3600@1..3", **settings)
    worker.start()
    try:
        await worker.ready()
        await post(worker, 0)
        await until(lambda: logged(worker, "Fault point projector.fetched"), 60)
        for number in range(1, 5):
            await post(worker, number)

        async def all_are_counted() -> bool:
            return await counted(worker, "tested") == 5

        await until(all_are_counted, 60)
        assert "begins anew" in worker.log.read_text()
    finally:
        assert worker.stop() == 0


async def test_a_projection_that_never_moves_is_named_and_its_worker_ends(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    query = WorkerProcess(tmp_path, SERVICES="ingestion,query", **settings)
    stuck = WorkerProcess(tmp_path, SERVICES="event_handler", FAULT_POINTS="projector.fetched=sleep:3600", **settings)
    standby = WorkerProcess(tmp_path, SERVICES="event_handler", **settings | {"CONSUMER_GROUP": "elsewhere"})
    query.start()
    stuck.start()
    try:
        await query.ready()
        await post(query, 1)
        await until(lambda: logged(stuck, "Fault point projector.fetched"), 60)
        await post(query, 2)

        async def is_told() -> bool:
            return "stalled" in await get(f"{query.query}/readyz")

        await until(is_told, 60)
        answer = await get(f"{query.query}/readyz")
        assert answer["status"] == "ready"
        assert {one["projection"] for one in answer["stalled"]} <= {"devices", "readings_hourly", "event_types"}
        assert all(one["lag_events"] and one["since"] for one in answer["stalled"])
        states = {one["name"]: one["state"] for one in (await get(f"{query.query}/api/v1/projections"))["items"]}
        assert "stalled" in states.values()
        await until(lambda: ended(stuck), 60)
        assert stuck.process.returncode != 0
        assert stuck.log.read_text().splitlines()[-1].startswith("headrace: Projection ")
        assert "although it was begun anew" in stuck.log.read_text().splitlines()[-1]
        standby.start()

        async def moves() -> bool:
            return await counted(query, "tested") == 2 and "stalled" not in await get(f"{query.query}/readyz")

        await until(moves, 60)
    finally:
        stuck.stop()
        assert standby.stop() == 0
        assert query.stop() == 0


async def test_a_handler_that_never_returns_ends_the_worker_with_the_place(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    source = tmp_path / "source"
    for package in ("headrace", "app", "agents", "tables", "web"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    handler = source / "agents" / "projections" / "event_types.py"
    text = handler.read_text()
    head, body = text.split("def counted(", 1)
    first, rest = body.split("\n", 1)
    handler.write_text(f"{head}def counted({first}\n    while event.type == 'poison':\n        pass\n{rest}")
    worker = WorkerProcess(tmp_path, **settings)
    worker.source = source
    worker.start()
    try:
        await worker.ready()
        await post(worker, 1, event_type="poison")
        await until(lambda: ended(worker), 60)
        assert worker.process.returncode == 1
        *before, last = worker.log.read_text().splitlines()
        assert last.startswith("headrace: Nothing else has run in this worker for 4 s")
        assert any("event_types.py" in line for line in before[-3:])
    finally:
        worker.stop()


async def test_nobody_is_blamed_for_an_event_that_is_not_published(tmp_path: Path, settings: dict[str, str]) -> None:
    worker = WorkerProcess(tmp_path, FAULT_POINTS="relay.stored=sleep:3600", **settings)
    worker.start()
    try:
        await worker.ready()
        await post(worker, 1)

        async def has_waited_long_enough_to_be_ended_for_it() -> bool:
            told = (await get(f"{worker.query}/readyz")).get("stalled", [])
            since = [datetime.fromisoformat(one["since"]) for one in told]
            return bool(since) and datetime.now(UTC) - max(since) > timedelta(seconds=3 * float(STALL_SECONDS))

        await until(has_waited_long_enough_to_be_ended_for_it, 60)
        assert "has not moved" not in worker.log.read_text()
    finally:
        assert worker.stop() == 0


async def test_a_worker_that_was_frozen_goes_on(tmp_path: Path, settings: dict[str, str]) -> None:
    worker = WorkerProcess(tmp_path, **settings | {"STALL_SECONDS": "2"})
    worker.start()
    try:
        await worker.ready()
        await post(worker, 1)
        worker.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(6)  # the fault itself, not a wait for its end
        worker.process.send_signal(signal.SIGCONT)
        await post(worker, 2)

        async def both_are_counted() -> bool:
            return await counted(worker, "tested") == 2

        await until(both_are_counted, 60)
        assert "Nothing else has run" not in worker.log.read_text()
    finally:
        assert worker.stop() == 0
