"""Schemathesis asks both ports of a worker what their OpenAPI documents allow, and what they do not; it finds nothing.

What it does not know of a port is in tests/openapi/, each with its reason.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from headrace.access.key_request import checked
from headrace.access.scopes import ALL_SCOPES
from tables.access import keys
from tables.database import Connection

from tests.support.program import output_of
from tests.support.servers.worker_process import ROOT, WorkerProcess

SCHEMATHESIS = ROOT / "tests" / "openapi"
SECONDS = 600.0
EXAMPLES = 10
LEAST_CASES = 1_000
LEAST_WITHOUT_A_KEY = 50
EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/devices",
    "type": "device.registered",
    "subject": "dev-1",
    "data": {"name": "One"},
}


# Without a key, all that is meant to be accepted or refused for another reason is 401.
WITHOUT_A_KEY = (
    "positive_data_acceptance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
)


@pytest.fixture
async def key(connection: Connection) -> str:
    """Of every scope."""
    _, secret = await keys.create(connection, checked("schemathesis", list(ALL_SCOPES)), "host:test")
    return secret


@pytest.fixture(params=["off", "keys"])
def auth(request: pytest.FixtureRequest) -> str:
    """Whether the worker needs a key."""
    return str(request.param)


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str, auth: str) -> dict[str, str]:
    """Of the worker."""
    of_kafka = {"BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    return {
        "DATABASE_URL": database_dsn,
        **of_kafka,
        "AUTH": auth,
        "AUTH_OPEN_DOCS": "on",
        "AUTH_FAILURES_PER_MINUTE": "0",
    }


@pytest.fixture
async def worker(tmp_path: Path, settings: dict[str, str], key: str) -> AsyncIterator[WorkerProcess]:
    """With one device; batches are as large as may be, which is little here."""
    started = WorkerProcess(tmp_path, MQTT_URL="off", MAX_BATCH_EVENTS="20", **settings)
    started.start()
    try:
        await started.ready()
        async with aiohttp.ClientSession() as session:
            headers = {"Prefer": "wait=60", "Authorization": f"Bearer {key}"}
            async with session.post(f"{started.ingestion}/api/v1/events", json=EVENT, headers=headers) as response:
                assert response.status == 201, await response.text()
        yield started
    finally:
        assert started.stop() == 0


@pytest.mark.parametrize("service", ["ingestion", "query"])
async def test_schemathesis_finds_nothing(
    worker: WorkerProcess, service: str, tmp_path: Path, auth: str, key: str
) -> None:
    address = worker.ingestion if service == "ingestion" else worker.query
    # The key is added to every request, also to those from which its header was left out.
    with_key = ["--header", f"Authorization: Bearer {key}", "--exclude-checks", "missing_required_header"]
    # It finds its own key in the list, and would end it.
    with_key += ["--exclude-path-regex", "/keys/.*/(revoke|rotate)$"]
    await run(address, tmp_path, *(with_key if auth == "keys" else []))


@pytest.mark.parametrize("auth", ["keys"], indirect=True)
@pytest.mark.parametrize("service", ["ingestion", "query"])
async def test_schemathesis_finds_nothing_without_a_key(worker: WorkerProcess, service: str, tmp_path: Path) -> None:
    address = worker.ingestion if service == "ingestion" else worker.query
    # The phase `coverage` has hundreds of times the same 401.
    few = ["--phases", "fuzzing", "--exclude-checks", ",".join(WITHOUT_A_KEY)]
    await run(address, tmp_path, *few, least_cases=LEAST_WITHOUT_A_KEY)


async def run(address: str, folder: Path, *options: str, least_cases: int = LEAST_CASES) -> None:
    """Ask a port, and fail for anything that it finds."""
    printed = await output_of(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(SCHEMATHESIS / "schemathesis.toml")),
        *("run", f"{address}/openapi.json", "--max-examples", str(EXAMPLES), "--no-color", *options),
        folder=folder,
        variables={**os.environ, "BASE_URL": address, "PYTHONPATH": str(SCHEMATHESIS), "PYTHONWARNINGS": "ignore"},
        seconds=SECONDS,
    )
    report = printed.decode()
    counts = re.search(r"(\d+) generated, (\d+) passed(?:, \d+ skipped)?$", report, re.MULTILINE)
    assert counts is not None, report
    assert counts[1] == counts[2], report
    assert int(counts[1]) > least_cases, report
