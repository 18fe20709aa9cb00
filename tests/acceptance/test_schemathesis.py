"""Schemathesis asks both ports of a worker what their OpenAPI documents allow, and what they do not; it finds nothing.

What it does not know of a port is in tests/openapi/, each with its reason.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.servers.worker_process import ROOT, WorkerProcess

SCHEMATHESIS = ROOT / "tests" / "openapi"
SECONDS = 600.0
EXAMPLES = 10
LEAST_CASES = 1_000
EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/devices",
    "type": "device.registered",
    "subject": "dev-1",
    "data": {"name": "One"},
}


@pytest.fixture
async def worker(tmp_path: Path, database_dsn: str, kafka: str, topic: str) -> AsyncIterator[WorkerProcess]:
    """With one device; batches are as large as may be, which is little here."""
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    started = WorkerProcess(tmp_path, MQTT_URL="off", MAX_BATCH_EVENTS="20", **settings)
    started.start()
    try:
        await started.ready()
        async with aiohttp.ClientSession() as session:
            headers = {"Prefer": "wait=60"}
            async with session.post(f"{started.ingestion}/api/v1/events", json=EVENT, headers=headers) as response:
                assert response.status == 201, await response.text()
        yield started
    finally:
        assert started.stop() == 0


@pytest.mark.parametrize("service", ["ingestion", "query"])
async def test_schemathesis_finds_nothing(worker: WorkerProcess, service: str, tmp_path: Path) -> None:
    address = worker.ingestion if service == "ingestion" else worker.query
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(SCHEMATHESIS / "schemathesis.toml")),
        *("run", f"{address}/openapi.json", "--max-examples", str(EXAMPLES), "--no-color"),
        cwd=tmp_path,
        env={**os.environ, "BASE_URL": address, "PYTHONPATH": str(SCHEMATHESIS), "PYTHONWARNINGS": "ignore"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    report = told.decode()
    assert process.returncode == 0, report
    counts = re.search(r"(\d+) generated, (\d+) passed$", report, re.MULTILINE)
    assert counts is not None, report
    assert counts[1] == counts[2], report
    assert int(counts[1]) > LEAST_CASES, report
