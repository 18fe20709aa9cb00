"""10,000 random events from several clients, and every row compared with a fold that the test makes by itself."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer

from tables.database import Pool

from tests.checking.independent_fold import comparable, fold
from tests.support.clients.journal import Client
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

CLIENTS = 6
EVENTS = 10_000
SETTLED_SECONDS = 60.0
SEED = int(os.environ.get("SEED", "20261122"))


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


async def test_every_row_equals_the_fold(tmp_path: Path, settings: dict[str, str], pool: Pool) -> None:
    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    try:
        await worker.ready()
        clients = [Client(worker.ingestion, f"c{n}", events=EVENTS // CLIENTS, seed=SEED) for n in range(CLIENTS)]
        await asyncio.gather(*(client.run() for client in clients))
        await settled(worker, pool)
        await check(worker, pool, clients, settings)
        assert sum(client.journal.duplicates for client in clients) > 100
    finally:
        code = worker.stop()
    assert code == 0, worker.log.read_text()[-4000:]


async def test_every_row_equals_the_fold_after_the_worker_was_killed(
    tmp_path: Path, settings: dict[str, str], pool: Pool
) -> None:
    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    try:
        await worker.ready()
        clients = [Client(worker.ingestion, f"c{n}", events=EVENTS // CLIENTS, seed=SEED + 1) for n in range(CLIENTS)]
        running = [asyncio.create_task(client.run()) for client in clients]
        for share in (0.2, 0.5, 0.8):
            await until(lambda share=share: _acknowledged(clients, share), 60)  # type: ignore[misc]
            worker.kill()
            worker.start()
            await worker.ready()
        await asyncio.gather(*running)
        assert all(client.journal.unanswered for client in clients), "the kills were not felt"
        await settled(worker, pool)
        await check(worker, pool, clients, settings)
    finally:
        worker.stop()


async def _acknowledged(clients: list[Client], share: float) -> bool:
    return sum(len(client.journal.acknowledged) for client in clients) >= EVENTS * share


async def settled(worker: WorkerProcess, pool: Pool) -> None:
    """Return when the outbox is empty and every projection has applied all that is stored."""
    started = time.monotonic()
    async with aiohttp.ClientSession() as session:

        async def nothing_waits() -> bool:
            if await pool.fetchval("SELECT count(*) FROM outbox"):
                return False
            stored = await pool.fetchval("SELECT coalesce(max(position), 0) FROM event_store")
            async with session.get(f"{worker.query}/api/v1/projections") as response:
                items = (await response.json())["items"]
            return all(item["position"] == stored and item["lag_events"] == 0 for item in items)

        await until(nothing_waits, SETTLED_SECONDS, lambda: f"not settled:\n{worker.log.read_text()[-4000:]}")
    print(f"settled {time.monotonic() - started:.2f} s after the last answer")


async def check(worker: WorkerProcess, pool: Pool, clients: list[Client], settings: dict[str, str]) -> None:
    """Everything that is promised of a quiet system."""
    stored = await pool.fetch("SELECT position, source, id, event::text AS event FROM event_store ORDER BY position")
    sent = {(e["source"], e["id"]): e for client in clients for e in client.journal.acknowledged}
    assert [row["position"] for row in stored] == list(range(1, len(stored) + 1))
    assert len(sent) == EVENTS // CLIENTS * CLIENTS
    assert {(row["source"], row["id"]): json.loads(row["event"]) for row in stored} == sent
    check_order({(row["source"], row["id"]): row["position"] for row in stored}, clients)
    expected = fold(row["event"] for row in stored)
    await check_projections(worker, pool, expected)
    await check_topic(settings, {row["position"]: (row["source"], row["id"]) for row in stored})


def check_order(positions: dict[tuple[str, str], int], clients: list[Client]) -> None:
    """By key, positions are in the order in which the posts were answered."""
    for client in clients:
        by_key: dict[str, list[int]] = defaultdict(list)
        for event in client.journal.acknowledged:
            by_key[event["subject"]].append(positions[event["source"], event["id"]])
        assert all(places == sorted(places) for places in by_key.values())


async def check_projections(worker: WorkerProcess, pool: Pool, expected: dict[tuple[str, str], Any]) -> None:
    """Every row in the database, and as the query service tells it."""
    rows = await pool.fetch("SELECT projection, key, state::text AS state FROM projections")
    found = {(row["projection"], row["key"]): json.loads(row["state"]) for row in rows}
    assert comparable(found) == comparable(expected)
    async with aiohttp.ClientSession() as session:
        for name in ("devices", "readings_hourly", "event_types"):
            items: list[dict[str, Any]] = []
            cursor: str | None = ""
            while cursor is not None:
                query = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
                async with session.get(f"{worker.query}/api/v1/projections/{name}", params=query) as response:
                    assert response.status == 200, await response.text()
                    page = await response.json()
                items += page["items"]
                cursor = page["next_cursor"]
            assert {(name, item["key"]): item["state"] for item in items} == {
                place: state for place, state in found.items() if place[0] == name
            }
            assert len(items) == len({item["key"] for item in items})


async def check_topic(settings: dict[str, str], positions: dict[int, tuple[str, str]]) -> None:
    """Each stored event at least once, nothing else, and first appearances in order of position."""
    consumer = AIOKafkaConsumer(
        settings["TOPIC"],
        bootstrap_servers=settings["BROKER_URL"].removeprefix("kafka://"),
        auto_offset_reset="earliest",
    )
    await consumer.start()
    last: dict[int, int] = defaultdict(int)
    seen: set[int] = set()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    event = json.loads(record.value)
                    position = int(event["sequence"])
                    assert positions[position] == (event["source"], event["id"])
                    assert record.key.decode() == event["subject"]
                    assert ("content-type", b"application/cloudevents+json") in record.headers
                    if position not in seen:
                        assert position > last[tp.partition], "a later event was there before"
                        last[tp.partition] = position
                        seen.add(position)
    finally:
        await consumer.stop()
    assert seen == set(positions)
