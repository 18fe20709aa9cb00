"""Clients that ask for too much: what is too much is refused, what is accepted is kept, and others do not notice."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.faults.faulty_worker import during
from tests.faults.trial import Trial

# 20 events a round, and a round takes a tenth of a second and more.
SLOW_RELAY = {"RELAY_BATCH_EVENTS": "20", "FAULT_POINTS": "relay.storing=sleep:0.1", "OUTBOX_MAX_EVENTS": "500"}
THREE_TIMES = 600
OVERLOAD_SECONDS = 20.0
RECOVERED_SECONDS = 10.0
ATTACK_SECONDS = 8.0
# The load's clients would notice a door that stands still.
SLOWEST_POST_SECONDS = 4.0
PAGES = 40
FILL = """
INSERT INTO projections (projection, key, state, position, version)
SELECT 'devices', 'filler-' || n, jsonb_build_object(
    'status', 'active', 'name', md5(n::text), 'first_seen', '2026-01-01T00:00:00Z',
    'last_seen', '2026-01-01T00:00:00Z', 'readings', 0, 'latest', '{}'::jsonb
), 1, 1
FROM generate_series(1, 100000) AS n
"""
EMPTY = "DELETE FROM projections WHERE key LIKE 'filler-%'"
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


@pytest.mark.slow_faults
async def test_three_times_the_capacity(trial: Trial) -> None:
    """clients post three times as much as the relay can do (200 events a second)"""
    worker = await trial.start(**SLOW_RELAY)
    trial.read(worker)
    load = await trial.load(worker, warm_up=0, events_a_second=THREE_TIMES, sessions=16)
    await during(OVERLOAD_SECONDS, trial.note_under_way)
    await load.stop(patience_seconds=60)
    await trial.resumed("the overload", within=RECOVERED_SECONDS)
    trial.bit(answers_429=load.journal.answers["429"])
    assert trial.failed_reads == 0
    await trial.verdict()


async def test_slow_pages(trial: Trial) -> None:
    """40 clients ask for pages that sort 100,000 rows without an index"""
    await run(trial, FILL)
    worker = await trial.start()
    trial.read(worker)
    load = await trial.load(worker, events_a_second=50)
    answers: Counter[int] = Counter()
    fields = itertools.cycle(["name", "-name", "last_seen"])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def ask() -> None:
            url = f"{worker.query}/api/v1/projections/devices?limit=1&sort={next(fields)}"
            async with http.get(url) as response:
                answers[response.status] += 1

        async with again_and_again(ask, clients=PAGES):
            await during(ATTACK_SECONDS, trial.note_under_way)
    await run(trial, EMPTY)
    await trial.resumed("the pages", within=RECOVERED_SECONDS)
    trial.bit(pages=answers.total())
    assert set(answers) <= {200, 503}
    assert load.journal.slowest_seconds < SLOWEST_POST_SECONDS
    assert trial.failed_reads == load.journal.answers["503"] == 0
    await trial.verdict()


async def test_a_large_event_and_thousands_of_its_name(trial: Trial) -> None:
    """an event of 1 MB, and batches of 5,000 small events with its source and id again and again"""
    worker = await trial.start()
    trial.read(worker)
    load = await trial.load(worker, events_a_second=50)
    large = {"specversion": "1.0", "id": "large", "source": "/large", "type": "tested", "subject": "large"}
    answers: Counter[int] = Counter()
    async with aiohttp.ClientSession() as http:
        event: dict[str, Any] = large | {"time": "2026-01-01T00:00:00Z", "data": [[] for _ in range(240_000)]}
        async with http.post(f"{worker.ingestion}/api/v1/events", json=[event]) as response:
            assert response.status == 202, await response.text()
        trial.note_accepted(event)

        async def conflict() -> None:
            batch = [large] * 5_000
            async with http.post(f"{worker.ingestion}/api/v1/events", json=batch, headers=BATCH) as response:
                answers[response.status] += 1

        async with again_and_again(conflict, clients=2):
            await during(ATTACK_SECONDS, trial.note_under_way)
    await trial.resumed("the conflicts", within=RECOVERED_SECONDS)
    trial.bit(batches=answers[422])
    assert set(answers) <= {422, 429}
    assert load.journal.slowest_seconds < SLOWEST_POST_SECONDS
    assert trial.failed_reads == load.journal.answers["503"] == 0
    await trial.verdict()


async def run(trial: Trial, statement: str) -> None:
    connection = await asyncpg.connect(trial.dsn, timeout=10, command_timeout=120)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def again_and_again(action: Callable[[], Awaitable[None]], *, clients: int) -> AsyncIterator[None]:
    """Clients that do something all the time."""

    async def client() -> None:
        while True:
            await action()

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in results), results
