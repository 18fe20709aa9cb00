"""Hostile requests, each kind of them, to a worker: tests/hostile has the cases and what sends them."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.program import output_of
from tests.support.servers.worker_process import ROOT, WorkerProcess
from tests.support.waiting import until

HOSTILE = ROOT / "tests" / "hostile"
SECONDS = 300.0
# The runner puts `"specversion":"1.0",` in front of a body that has it already, and a name that is there twice is
# refused with 400: the case wants 2xx or 415. test_ingestion.py posts the same content type.
NOT_AS_MEANT = {"content_type_cloudevents_json"}


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


def cases_for(target: str, folder: Path) -> Path:
    """A file with the cases of one service, and the one that shows that the door is alive."""
    document: dict[str, Any] = json.loads((HOSTILE / "cases.json").read_text("utf-8"))
    document["cases"] = [
        case
        for case in document["cases"]
        if (case["target"] == target or case["name"] == "control_valid_event") and case["name"] not in NOT_AS_MEANT
    ]
    path = folder / f"{target}.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


async def run(worker: WorkerProcess, cases: Path, *options: str) -> None:
    addresses = ("--ingest", worker.ingestion, "--query", worker.query)
    command: list[str | Path] = [sys.executable, HOSTILE / "run.py", cases, *addresses, *options]
    report = (await output_of(*command, seconds=SECONDS)).decode()
    assert " 0 failed" in report, report


async def test_hostile_input_for_ingestion(worker: WorkerProcess, tmp_path: Path) -> None:
    await run(worker, cases_for("ingest", tmp_path))


async def test_hostile_input_for_query(worker: WorkerProcess, tmp_path: Path) -> None:
    """The same at each kind of address; the last one is a row of the events that show that the door is alive."""
    cases = cases_for("query", tmp_path)
    for path in ("/api/v1/projections", "/api/v1/projections/devices", "/api/v1/events"):
        await run(worker, cases, "--path-query", path)
    row = "/api/v1/projections/event_types/test.created"
    await until(lambda: is_there(worker.query + row), 60)
    await run(worker, cases, "--path-query", row)


async def is_there(address: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        return response.status == 200
