"""A handler that fails for a key, parked events, a fix, a retry by command and over HTTP: the rows are the fold."""

from __future__ import annotations

import getpass
import json
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tables.database import Pool

from tests.checking.independent_fold import comparable, fold
from tests.support.servers.command_line import command
from tests.support.servers.worker_process import ROOT, WorkerProcess
from tests.support.waiting import until

HANDLER = "def recorded(device: Device | None, event: Event[ReadingRecorded]) -> Device:\n"
FAULT = "    if event.subject in {'dev-1', 'dev-2'} and event.data.value > 21:\n        raise ValueError('too warm')\n"
EVENTS = 60


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


def reading(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": "/tests",
        "type": "reading.recorded",
        "subject": f"dev-{number % 4}",
        "time": f"2026-11-22T08:{number % 60:02}:00Z",
        "data": {"metric": "temperature", "value": 20 + number % 3},
    }


async def post(worker: WorkerProcess, numbers: range) -> None:
    async with aiohttp.ClientSession() as session:
        for number in numbers:
            async with session.post(f"{worker.ingestion}/api/v1/events", json=reading(number)) as response:
                assert response.status == 202


async def settled(pool: Pool, events: int) -> None:
    """Return when every projection is through with so many events."""

    async def through() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT (SELECT last_position FROM relay_state) >= $1"
                " AND count(*) = 3 * (SELECT count(*) FROM topic_partitions)"
                " FROM progress JOIN topic_partitions AS stored USING (partition)"
                " WHERE progress.position >= stored.last_position",
                events,
            )
        )

    await until(through, 30)


def parked(*arguments: str, settings: dict[str, str], code: int = 0) -> Any:
    ended = command("parked", *arguments, "--json", settings={**settings, "PYTHONWARNINGS": "ignore"})
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stdout) if ended.stdout else ended.stderr


async def rows(pool: Pool) -> dict[tuple[str, str], Any]:
    found = await pool.fetch("SELECT projection, key, state::text AS state FROM projections")
    return {(row["projection"], row["key"]): comparable(json.loads(row["state"])) for row in found}


async def folded(pool: Pool) -> dict[tuple[str, str], Any]:
    events = await pool.fetch("SELECT event::text AS event FROM event_store ORDER BY position")
    return {place: comparable(state) for place, state in fold(row["event"] for row in events).items()}


async def both_are_recorded(worker: WorkerProcess) -> bool:
    """Whether the access log has the retry by the command and that over HTTP; the newest first."""
    url = f"{worker.query}/api/v1/access-log?action=parked.retried"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        entries = (await response.json())["items"]
    found = [(one["caller"], one["target"], one["outcome"], one.get("address")) for one in entries]
    of_command = (f"host:{getpass.getuser()}", "devices", "done", None)
    return found == [("", "devices", "done", "127.0.0.1"), of_command]


async def test_a_fixed_handler_is_retried_by_command_and_over_http(
    tmp_path: Path, settings: dict[str, str], pool: Pool
) -> None:
    source = tmp_path / "source"
    for folder in ("headrace", "app", "agents", "tables", "web"):
        shutil.copytree(ROOT / folder, source / folder)
    handler = source / "agents" / "projections" / "devices.py"
    assert HANDLER in handler.read_text()
    handler.write_text(handler.read_text().replace(HANDLER, HANDLER + FAULT))

    failing = WorkerProcess(tmp_path, **settings)
    failing.source = source
    failing.start()
    try:
        await failing.ready()
        await post(failing, range(1, EVENTS + 1))
        await settled(pool, EVENTS)
    finally:
        assert failing.stop() == 0

    listed = parked("list", settings=settings)["items"]
    assert [(one["projection"], one["key"]) for one in listed] == [("devices", "dev-2"), ("devices", "dev-1")]
    assert listed[0]["error"] == "ValueError: too warm"
    shown = parked("show", "devices", str(listed[0]["position"]), settings=settings)
    assert shown["event"]["subject"] == "dev-2"
    assert "no event is parked" in parked("show", "devices", "1", settings=settings, code=1).lower()
    assert "headrace: There is no projection" in parked("retry", "none", "--all", settings=settings, code=1)

    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    try:
        await worker.ready()
        await post(worker, range(EVENTS + 1, EVENTS + 9))
        await settled(pool, EVENTS + 8)
        assert await rows(pool) != await folded(pool)
        outcome = parked("retry", "devices", "--key", "dev-1", settings=settings)
        assert (outcome["applied"] > 1, outcome["still_parked"]) == (True, 0)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{worker.query}/api/v1/parked") as parked_now,
            session.post(f"{worker.query}/api/v1/parked/devices/retry", json={"key": "dev-2"}) as retried,
        ):
            assert [one["key"] for one in (await parked_now.json())["items"]] == ["dev-2"]
            assert (retried.status, (await retried.json())["still_parked"]) == (200, 0)
        await post(worker, range(EVENTS + 9, EVENTS + 17))
        await settled(pool, EVENTS + 16)

        async def equal() -> bool:
            return await rows(pool) == await folded(pool)

        await until(equal, 20)
        assert parked("list", settings=settings)["items"] == []
        await until(lambda: both_are_recorded(worker), 20)
    finally:
        assert worker.stop() == 0
