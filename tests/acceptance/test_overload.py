"""More than a worker can take: it says so, keeps what it accepted, stays within its memory, and recovers."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import aiohttp
import psutil
import pytest

from tables.database import Pool

from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

HEADERS = {"Content-Type": "application/cloudevents-batch+json"}
BATCH_EVENTS = 100
CAPACITY_SECONDS = 3.0
OVERLOAD_SECONDS = 6.0
TIMES = 3
MOST_IN_FLIGHT = 400
MEGABYTE = 1024 * 1024


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


class Load:
    """Posts batches of new events; counts what is answered."""

    def __init__(self, session: aiohttp.ClientSession, worker: WorkerProcess, *, batch_events: int = 1) -> None:
        self._session = session
        self._url = f"{worker.ingestion}/api/v1/events"
        self._batch_events = batch_events
        self._sent = 0
        self.statuses: Counter[int] = Counter()
        self.retry_after: list[int] = []
        self.accepted: set[str] = set()

    async def post(self) -> int:
        """Post one batch; the status, 0 where no answer came."""
        self._sent += 1
        ids = [f"{self._sent}-{index}" for index in range(self._batch_events)]
        data = {"metric": "temperature", "value": 21.5, "note": "x" * 200}
        event = {"specversion": "1.0", "source": "/tests", "type": "tested", "data": data}
        body = json.dumps([{**event, "id": event_id, "subject": event_id} for event_id in ids])
        try:
            async with self._session.post(self._url, data=body, headers=HEADERS) as response:
                await response.read()
                status = response.status
                if status in {429, 503}:
                    self.retry_after.append(int(response.headers["Retry-After"]))
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        if status == 202:
            self.accepted.update(ids)
        self.statuses[status] += 1
        return status

    async def closed_loop(self, seconds: float, *, clients: int) -> float:
        """Each client posts as soon as it is answered; batches a second."""
        end = time.monotonic() + seconds

        async def client() -> int:
            count = 0
            while time.monotonic() < end:
                count += await self.post() == 202
            return count

        counts = await asyncio.gather(*(client() for _ in range(clients)))
        return sum(counts) / seconds

    async def open_loop(self, seconds: float, *, rate: float) -> None:
        """Post at a rate, whatever comes back."""
        started = time.monotonic()
        posts: set[asyncio.Task[int]] = set()
        sent = 0
        while (elapsed := time.monotonic() - started) < seconds:
            while sent < elapsed * rate and len(posts) < MOST_IN_FLIGHT:
                task = asyncio.create_task(self.post())
                posts.add(task)
                task.add_done_callback(posts.discard)
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*posts)


@pytest.mark.alone
async def test_three_times_the_capacity_is_refused_in_time_and_nothing_accepted_is_lost(
    tmp_path: Path, settings: dict[str, str], pool: Pool
) -> None:
    worker = WorkerProcess(tmp_path, SERVICES="ingestion", MAX_QUEUED_EVENTS="2000", **settings)
    worker.start()
    try:
        await worker.ready()
        process = psutil.Process(worker.process.pid)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            load = Load(session, worker, batch_events=BATCH_EVENTS)
            capacity = await load.closed_loop(CAPACITY_SECONDS, clients=4)
            before = process.memory_info().rss
            await load.open_loop(OVERLOAD_SECONDS, rate=TIMES * capacity)
            grown = process.memory_info().rss - before
            ended = time.monotonic()
            probe = Load(session, worker)

            async def is_quick_again() -> bool:
                started = time.monotonic()
                return await probe.post() == 202 and time.monotonic() - started < 0.5

            await until(is_quick_again, 10)
            recovered = time.monotonic() - ended
        print(
            f"capacity {capacity * BATCH_EVENTS:.0f} events/s; answers {dict(load.statuses)}; Retry-After up to "
            f"{max(load.retry_after, default=0)} s; memory +{grown / MEGABYTE:.0f} MB; recovered in {recovered:.1f} s"
        )
        assert load.statuses[429] > 0
        assert set(load.statuses) <= {202, 429}
        assert all(1 <= seconds <= 60 for seconds in load.retry_after)
        assert grown < 300 * MEGABYTE

        async def all_is_stored() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM event_store") >= len(load.accepted))

        await until(all_is_stored, 120)
        stored = await pool.fetch("SELECT id FROM event_store")
        assert {row["id"] for row in stored} >= load.accepted
    finally:
        assert worker.stop() == 0


async def test_kafka_away_and_a_small_outbox_is_429_until_it_is_drained(
    tmp_path: Path, settings: dict[str, str], pool: Pool
) -> None:
    settings |= {"SERVICES": "ingestion", "OUTBOX_MAX_EVENTS": "500"}
    away = WorkerProcess(tmp_path, FAULT_POINTS="relay.stored=sleep:3600", **settings)
    back = WorkerProcess(tmp_path, **settings)
    away.start()
    try:
        await away.ready()

        async def has_the_relay() -> bool:
            return "relay is active" in away.log.read_text()

        await until(has_the_relay, 60)
        back.start()
        await back.ready()
        async with aiohttp.ClientSession() as session:
            load = Load(session, away, batch_events=BATCH_EVENTS)

            async def is_refused_as_at_a_standstill() -> bool:
                return await load.post() == 429 and load.retry_after[-1] == 30

            await until(is_refused_as_at_a_standstill, 60)
            assert len(load.accepted) >= 500
            away.kill()
            again = Load(session, back)

            async def is_taken() -> bool:
                return await again.post() == 202

            await until(is_taken, 60)

        async def is_drained() -> bool:
            return not await pool.fetchval("SELECT count(*) FROM outbox")

        await until(is_drained, 60)
        stored = await pool.fetch("SELECT id FROM event_store")
        assert {row["id"] for row in stored} >= load.accepted
    finally:
        away.stop()
        back.stop()
