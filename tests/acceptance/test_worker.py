"""Workers as processes: what listens, who shares what, how they start, and end."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tables.database import Pool

from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

READING = {
    "specversion": "1.0",
    "source": "/tests",
    "type": "reading.recorded",
    "subject": "dev/1 ü",
    "data": {"metric": "temperature", "value": 21.50},
}


async def post(address: str, event_id: str, **members: Any) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{address}/api/v1/events", json={"id": event_id, **READING, **members}) as response,
    ):
        return response.status


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json(content_type=None)


def listening(worker: WorkerProcess) -> set[int]:
    connections = psutil.Process(worker.process.pid).net_connections("tcp")
    return {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


async def test_a_posted_event_comes_out_of_get(tmp_path: Path, settings: dict[str, str]) -> None:
    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    try:
        await worker.ready()
        assert await post(worker.ingestion, "1") == 202
        url = f"{worker.query}/api/v1/projections/devices/dev%2F1%20%C3%BC"

        async def there() -> bool:
            return (await get(url))[0] == 200

        await until(there, 20)
        _, row = await get(url)
        assert row["key"] == READING["subject"]
        assert row["state"]["latest"]["temperature"]["value"] == 21.5
        assert listening(worker) == {worker.ingestion_port, worker.query_port}
    finally:
        assert worker.stop() == 0


async def test_the_three_services_run_in_three_workers(tmp_path: Path, settings: dict[str, str], pool: Pool) -> None:
    workers = {
        name: WorkerProcess(tmp_path, SERVICES=name, **settings) for name in ("ingestion", "event_handler", "query")
    }
    for worker in workers.values():
        worker.start()
    try:
        for worker in workers.values():
            await worker.ready()
        assert listening(workers["ingestion"]) == {workers["ingestion"].ingestion_port}
        assert listening(workers["query"]) == {workers["query"].query_port}
        assert listening(workers["event_handler"]) == {workers["event_handler"].health_port}
        for number in range(20):
            assert await post(workers["ingestion"].ingestion, str(number)) == 202

        async def counted() -> bool:
            status, row = await get(f"{workers['query'].query}/api/v1/projections/event_types/reading.recorded")
            return status == 200 and row["state"]["count"] == 20

        await until(counted, 20)
    finally:
        assert [worker.stop() for worker in workers.values()] == [0, 0, 0]


async def test_another_worker_takes_over_the_relay(tmp_path: Path, settings: dict[str, str], pool: Pool) -> None:
    workers = [WorkerProcess(tmp_path, SERVICES="ingestion", **settings) for _ in range(2)]
    for worker in workers:
        worker.start()
        await worker.ready()
    try:
        assert await post(workers[1].ingestion, "1") == 202  # NOTIFY wakes the relay in the other process

        async def outbox_is_empty() -> bool:
            return not await pool.fetchval("SELECT count(*) FROM outbox")

        started = time.monotonic()
        await until(outbox_is_empty, 10)
        notified = time.monotonic() - started
        workers[0].kill()
        assert await post(workers[1].ingestion, "2") == 202
        started = time.monotonic()
        await until(outbox_is_empty, 10)
        taken_over = time.monotonic() - started
        print(f"relayed after a NOTIFY: {notified:.3f} s; after a take-over: {taken_over:.3f} s")
        assert taken_over < 5
    finally:
        for worker in workers:
            worker.stop()


async def test_kafka_away_at_start_does_not_stop_the_door(
    tmp_path: Path, database_dsn: str, kafka: str, topic: str, pool: Pool
) -> None:
    nowhere = WorkerProcess(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=f"kafka://127.0.0.1:{free_port()}")
    nowhere.start()
    try:
        await nowhere.ready()
        for number in range(3):
            assert await post(nowhere.ingestion, str(number)) == 202
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 3
        assert (await get(f"{nowhere.query}/api/v1/projections"))[0] == 200
    finally:
        started = time.monotonic()
        assert nowhere.stop() == 0
    assert time.monotonic() - started < 10
    assert len(nowhere.log.read_text().splitlines()) < 40, "the log repeats itself"
    back = WorkerProcess(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=kafka, TOPIC=topic, CONSUMER_GROUP=topic)
    back.start()
    try:

        async def counted() -> bool:
            count = await pool.fetchval("SELECT state->>'count' FROM projections WHERE key = 'reading.recorded'")
            return bool(count == "3")

        await until(counted, 30)
    finally:
        assert back.stop() == 0


async def test_postgres_away_at_start_is_waited_for(tmp_path: Path, settings: dict[str, str]) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))  # takes the port, answers nothing
        address = f"postgresql://x@127.0.0.1:{hole.getsockname()[1]}/x"
        worker = WorkerProcess(tmp_path, **{**settings, "DATABASE_URL": address})
        worker.start()
        try:

            async def alive() -> bool:
                try:
                    return (await get(f"{worker.ingestion}/livez"))[0] == 200
                except aiohttp.ClientError:
                    return False

            await until(alive, 20)
            assert await post(worker.ingestion, "1") == 503
            assert (await get(f"{worker.query}/readyz"))[0] == 503
        finally:
            assert worker.stop() == 0


async def test_two_workers_share_the_embedded_servers_and_the_last_one_ends_them() -> None:
    with server_folder() as folder:
        shared = {"DATA_DIR": str(folder / "data"), "EMBEDDED_KAFKA_PORT": str(free_port())}
        first = WorkerProcess(folder, SERVICES="ingestion,event_handler", **shared)
        second = WorkerProcess(folder, SERVICES="query", **shared)
        first.start()
        second.start()
        try:
            await first.ready()
            await second.ready()
            assert await post(first.ingestion, "1") == 202

            async def there() -> bool:
                return (await get(f"{second.query}/api/v1/projections/event_types/reading.recorded"))[0] == 200

            await until(there, 60)
            assert first.stop() == 0
            assert await there()
        finally:
            first.stop()
            assert second.stop() == 0
        assert [one for one in psutil.process_iter() if str(folder) in " ".join(command_line(one))] == []


async def test_pairs_of_workers_start_together_on_the_embedded_servers() -> None:
    with server_folder() as folder:
        ports = {"EMBEDDED_KAFKA_PORT": str(free_port()), "EMBEDDED_MQTT_PORT": str(free_port())}
        shared = {"DATA_DIR": str(folder / "data"), "MQTT_URL": "", **ports}
        for pair in range(3):  # the first starts the servers from nothing
            workers = [WorkerProcess(folder, **shared) for _ in range(2)]
            for worker in workers:
                worker.start()
            try:
                for number, worker in enumerate(workers):
                    await worker.ready()
                    assert await post(worker.ingestion, f"{pair}-{number}") == 202
            finally:
                codes = [worker.stop() for worker in workers]
            assert codes == [0, 0], "\n".join(worker.log.read_text() for worker in workers)
            for worker in workers:
                assert "Traceback" not in worker.log.read_text()


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def test_a_request_in_flight_is_answered_when_the_worker_stops(
    tmp_path: Path, settings: dict[str, str], pool: Pool
) -> None:
    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    await worker.ready()
    async with pool.acquire() as blocker:
        await blocker.execute("BEGIN")
        await blocker.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        posting = asyncio.create_task(post(worker.ingestion, "1"))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%outbox_accept%'"
        )

        async def arrived() -> bool:
            return bool(await pool.fetchval(waiting))

        await until(arrived, 10)
        worker.process.terminate()

        async def closed() -> bool:
            try:
                await get(f"{worker.query}/livez")
            except aiohttp.ClientConnectorError:
                return True
            return False

        await until(closed, 10)
        await blocker.execute("ROLLBACK")
    assert await posting == 202
    assert worker.stop() == 0
