"""The textbook stack: FastAPI with one INSERT a post, a SKIP LOCKED relay on aiokafka, FastStream with one upsert an
event. Three processes under the load of `singles`; it stores no history and keeps one projection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from app.embedded.ports import free_port
from tables.database import Connection

from benchmarks.cpu import CpuMeter
from benchmarks.device_rows import applied, check_device_rows
from benchmarks.peer_environment import peer_python
from benchmarks.place import CONNECTIONS, KAFKA, NO_PORT, POSTGRES, Place
from benchmarks.processes import Running
from benchmarks.topic_records import Topic, open_topic
from benchmarks.wrk import RoundFailedError, WrkResult, run_wrk

PARTS = {"door": "textbook_door.py", "relay": "textbook_relay.py", "consumer": "textbook_consumer.py"}
WARM_UP_SECONDS = 1.0
POLL_SECONDS = 0.01
STUCK_SECONDS = 60.0
TABLES = """
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, payload text NOT NULL);
CREATE TABLE devices (device text PRIMARY KEY, readings bigint NOT NULL, first_seen text NOT NULL,
                      last_seen text NOT NULL, latest jsonb NOT NULL);
"""
IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM outbox)"


async def measure_textbook(place: Place, seconds: float) -> tuple[float, float, dict[str, float]]:
    """Events a second end to end, accepted a second, CPU microseconds an event; every event checked."""
    name = place.new_name()
    async with place.database(name) as (dsn, connection), open_topic(place.bootstrap_servers, name) as topic:
        await connection.execute(TABLES)
        async with _running(place, name, dsn) as (port, parts):
            await _load(port, "warm-up", WARM_UP_SECONDS)
            before = await _until_applied(connection, topic, parts)
            kinds = {kind: part.measured for kind, part in parts.items()}
            meter = CpuMeter({**kinds, POSTGRES: place.postgres.process, KAFKA: place.kafka.process})
            result = await _load(port, "run", seconds)
            answered = time.perf_counter()
            events = await _until_applied(connection, topic, parts) - before
            behind = time.perf_counter() - answered
            cpu = meter.microseconds(result.requests)
        # wrk leaves without waiting for the last answer of each connection.
        if not result.requests <= events <= result.requests + CONNECTIONS:
            raise RoundFailedError(f"textbook: {result.requests} were accepted, {events} are applied")
        await check_device_rows(connection, await topic.values())
    return result.requests / (result.seconds + behind), result.per_second, cpu


@asynccontextmanager
async def _running(place: Place, name: str, dsn: str) -> AsyncIterator[tuple[int, dict[str, Running]]]:
    port = free_port(but=NO_PORT)
    settings = {
        "DATABASE_URL": dsn,
        "BOOTSTRAP_SERVERS": place.bootstrap_servers,
        "TOPIC": name,
        "PORT": str(port),
    }
    parts: dict[str, Running] = {}
    async with AsyncExitStack() as stack:
        for part, script in PARTS.items():
            parts[part] = Running(peer_python(script), place.folder / f"{name}-{part}.log", settings)
            stack.push_async_callback(parts[part].stop)
        await parts["door"].answers(f"http://127.0.0.1:{port}/readyz")
        yield port, parts


async def _load(port: int, run: str, seconds: float) -> WrkResult:
    url = f"http://127.0.0.1:{port}/api/v1/events"
    return await run_wrk(url, "post.lua", run, "application/cloudevents+json", connections=CONNECTIONS, seconds=seconds)


async def _until_applied(connection: Connection, topic: Topic, parts: dict[str, Running]) -> int:
    """Return when the outbox is empty and all that is on the topic is applied: how many."""
    last, moved = -1, time.perf_counter()
    while True:
        for part in parts.values():
            part.check_alive()
        now = await applied(connection)
        if await connection.fetchval(IS_EMPTY) and now >= await topic.count():
            return now
        if now > last:
            last, moved = now, time.perf_counter()
        elif time.perf_counter() - moved > STUCK_SECONDS:
            tails = "\n".join(part.log_tail() for part in parts.values())
            raise RoundFailedError(f"textbook: {now} applied, and for {STUCK_SECONDS:.0f} s no more:\n{tails}")
        await asyncio.sleep(POLL_SECONDS)
