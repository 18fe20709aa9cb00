"""Settings, each by what it changes for those outside.

Wrong values: tests/unit/test_settings.py. Other settings have their tests where what they set is tested: TOPIC and
TOPIC_PARTITIONS in test_contract_kafka.py, DRAIN_SECONDS in test_contract_both_ports.py, SERVICES, the ports and the
embedded servers in test_worker.py, OUTBOX_MAX_EVENTS and MAX_QUEUED_EVENTS in test_overload.py, STALL_SECONDS in
test_stalls.py, CONSUMER_GROUP in test_offsets.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tables.database import Pool

from tests.support.servers.fresh import free_port
from tests.support.servers.system import BATCH, STRUCTURED, Answer, System, envelope, running
from tests.support.servers.worker_process import ROOT, WorkerProcess
from tests.support.waiting import until

READ_ENVIRONMENT = "from app.main import app, read_environment; print(read_environment().ingestion_port)"


@pytest.fixture
def settings(database_dsn: str) -> dict[str, str]:
    """Ingestion alone; no Kafka, so that what is posted stays in the outbox."""
    return {
        "DATABASE_URL": database_dsn,
        "BROKER_URL": f"kafka://127.0.0.1:{free_port()}",
        "SERVICES": "ingestion",
    }


@asynccontextmanager
async def door(folder: Path, **settings: str) -> AsyncIterator[System]:
    async with running(folder, **settings) as worker:
        yield System(worker, settings["DATABASE_URL"], "", "")


@asynccontextmanager
async def nobody_writes(pool: Pool) -> AsyncIterator[None]:
    async with pool.acquire() as blocker:
        await blocker.execute("BEGIN")
        await blocker.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        yield
        await blocker.execute("ROLLBACK")


async def test_limits_of_an_event_a_body_and_a_batch(tmp_path: Path, settings: dict[str, str]) -> None:
    """MAX_EVENT_BYTES, MAX_BODY_BYTES, MAX_BATCH_EVENTS, MAX_JSON_DEPTH."""
    limits = {"MAX_EVENT_BYTES": "1000", "MAX_BODY_BYTES": "2000", "MAX_BATCH_EVENTS": "2", "MAX_JSON_DEPTH": "3"}

    def outcome(answer: Answer) -> tuple[int, str | None]:
        return answer.status, answer.json.get("code")

    async with door(tmp_path, **settings, **limits) as system:
        assert outcome(await system.post(envelope("/s", data="x" * 700))) == (202, None)
        assert outcome(await system.post(envelope("/s", data="x" * 900))) == (413, "event_too_large")
        assert outcome(await system.post(json.dumps(envelope("/s")).encode().ljust(2_000))) == (202, None)
        assert outcome(await system.post(json.dumps(envelope("/s")).encode().ljust(2_001))) == (413, "too_large")
        assert outcome(await system.post([envelope("/s")] * 2, BATCH)) == (202, None)
        assert outcome(await system.post([envelope("/s")] * 3, BATCH)) == (413, "batch_too_large")
        assert outcome(await system.post(envelope("/s", data=[[]]))) == (202, None)
        assert outcome(await system.post(envelope("/s", data=[[[]]])))[0] == 400


async def test_unknown_types_reject(tmp_path: Path, settings: dict[str, str]) -> None:
    async with door(tmp_path, UNKNOWN_TYPES="reject", **settings) as system:
        answer = await system.post(envelope("/s", type="never.heard.of"))
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/type")
        assert (await system.post(envelope("/s", type="device.retired", subject="d"))).status == 202


async def test_max_connections(tmp_path: Path, settings: dict[str, str]) -> None:
    allowed = {"MAX_CONNECTIONS": "3", "MAX_CONNECTIONS_PER_ADDRESS": "3"}
    async with door(tmp_path, **allowed, **settings) as system:
        await is_full_after(3, system)


async def test_max_connections_per_address_is_half_of_all_unless_set(tmp_path: Path, settings: dict[str, str]) -> None:
    async with door(tmp_path, MAX_CONNECTIONS="6", **settings) as system:
        await is_full_after(3, system)


async def is_full_after(connections: int, system: System) -> None:
    """So many connections leave room for health only."""
    opened = [await asyncio.open_connection("127.0.0.1", system.worker.ingestion_port) for _ in range(connections)]

    async def is_full() -> bool:
        answer = await system.door("/openapi.json")
        return answer.status == 503 and answer.json["code"] == "too_many_connections"

    await until(is_full, 20)
    assert (await system.door("/livez")).status == 200
    for _, writer in opened:
        writer.close()

    async def has_room() -> bool:
        return (await system.door("/openapi.json")).status == 200

    await until(has_room, 20)


async def test_allowed_hosts_and_cors_origins(tmp_path: Path, settings: dict[str, str]) -> None:
    named = {"ALLOWED_HOSTS": "api.example", "CORS_ORIGINS": "https://app.example"}
    async with door(tmp_path, **named, **settings) as system, aiohttp.ClientSession(system.worker.ingestion) as client:
        for host, status in (("api.example", 200), ("evil.example", 421)):
            async with client.get("/openapi.json", headers={"Host": host}) as response:
                assert response.status == status
        for origin, status in (("https://app.example", 202), ("https://evil.example", 403)):
            headers = {**STRUCTURED, "Origin": origin}
            async with client.post("/api/v1/events", json=envelope("/cors"), headers=headers) as response:
                assert response.status == status
                assert ("Access-Control-Allow-Origin" in response.headers) == (status == 202)


async def test_max_bodies_bytes(tmp_path: Path, settings: dict[str, str]) -> None:
    go_on = asyncio.Event()
    event = json.dumps(envelope("/s", data="x" * 6_000)).encode()

    async def slowly() -> Any:
        yield event[:6_000]
        await go_on.wait()
        yield event[6_000:]

    async with door(tmp_path, MAX_BODIES_BYTES="10000", **settings) as system, aiohttp.ClientSession() as session:
        url = f"{system.worker.ingestion}/api/v1/events"
        slow = asyncio.create_task(session.post(url, data=slowly(), headers=STRUCTURED))

        async def is_held() -> bool:
            return b"headrace_bodies_bytes 6000.0" in (await system.door("/metrics")).body

        await until(is_held, 20)
        async with session.post(url, data=slowly(), headers=STRUCTURED) as refused:
            assert (refused.status, (await refused.json())["code"]) == (429, "too_many_bodies")
        go_on.set()
        async with await slow as taken:
            assert taken.status == 202


async def test_max_queued_bytes(tmp_path: Path, settings: dict[str, str], pool: Pool) -> None:
    async with door(tmp_path, MAX_QUEUED_BYTES="5000", **settings) as system:
        async with nobody_writes(pool):
            posts = [asyncio.create_task(system.post(envelope("/s", data="x" * 2_000))) for _ in range(8)]
            done, waiting = await asyncio.wait(posts, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            refused = done.pop().result()
            assert (refused.status, refused.json["code"]) == (429, "queue_full")
            assert int(refused.headers["Retry-After"]) > 0
        assert {202} <= {(await one).status for one in waiting} <= {202, 429}


async def test_outbox_max_bytes(tmp_path: Path, settings: dict[str, str]) -> None:
    async with door(tmp_path, OUTBOX_MAX_BYTES="20000", **settings) as system:
        told: list[Answer] = []

        async def is_full() -> bool:
            told.append(await system.post(envelope("/s", data=os.urandom(1_500).hex())))
            return told[-1].status == 429

        await until(is_full, 30)
        assert told[-1].json["code"] == "outbox_full"
        assert int(told[-1].headers["Retry-After"]) > 0
        assert len(told) > 5


async def test_database_timeout_seconds(tmp_path: Path, settings: dict[str, str], pool: Pool) -> None:
    async with door(tmp_path, DATABASE_TIMEOUT_SECONDS="0.3", **settings) as system, nobody_writes(pool):
        answer = await system.post(envelope("/s"))
        assert (answer.status, answer.json["code"]) == (503, "database_away")
        assert int(answer.headers["Retry-After"]) > 0


async def test_shutdown_seconds(tmp_path: Path, settings: dict[str, str], pool: Pool) -> None:
    """What cannot end in time is ended, and the exit code says so."""
    worker = WorkerProcess(tmp_path, SHUTDOWN_SECONDS="0.2", DATABASE_TIMEOUT_SECONDS="60", **settings)
    worker.start()
    try:
        await worker.ready()
        async with nobody_writes(pool):
            posting = asyncio.create_task(System(worker, "", "", "").post(envelope("/s")))

            async def is_writing() -> bool:
                return bool(
                    await pool.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%outbox%'"
                    )
                )

            await until(is_writing, 20)
            assert await asyncio.to_thread(worker.stop) == 1
            with suppress(aiohttp.ClientError):
                await posting
    finally:
        worker.stop()


@pytest.mark.parametrize("name", ["INGESTION", "QUERY"])
async def test_the_host_to_listen_on(tmp_path: Path, settings: dict[str, str], name: str) -> None:
    """And where `AUTH=off` says so, beyond loopback."""
    for host, auth in (("127.0.0.2", ""), ("0.0.0.0", "off")):  # noqa: S104 - that is what is tested
        chosen = {"SERVICES": name.lower(), f"{name}_HOST": host, "AUTH": auth}
        worker = WorkerProcess(tmp_path, **{**settings, **chosen})
        worker.start()
        try:
            await until(lambda worker=worker: listens(worker), 30)  # type: ignore[misc]
            assert addresses(worker) == {host}
        finally:
            assert worker.stop() == 0


async def listens(worker: WorkerProcess) -> bool:
    assert worker.process.poll() is None, worker.log.read_text()
    return bool(addresses(worker))


def addresses(worker: WorkerProcess) -> set[str]:
    connections = psutil.Process(worker.process.pid).net_connections("tcp")
    return {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("environment", [{}, {"INGESTION_PORT": "18082"}], ids=["of .env", "of the environment"])
def test_environment_variables_or_env(tmp_path: Path, environment: dict[str, str]) -> None:
    """`.env` in the folder where the worker starts; the environment wins."""
    (tmp_path / ".env").write_text("# ours\nINGESTION_PORT=18081\nDATABASE_URL=postgresql://nowhere/\n")
    told = subprocess.run(
        [sys.executable, "-c", READ_ENVIRONMENT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.split() == [environment.get("INGESTION_PORT", "18081")]
