"""Quix Streams with its PostgreSQL sink: the fold of `devices`, from a full topic, in one process.

It keeps one projection, where ours keeps three; its state is in RocksDB and, for recovery, in a changelog topic; rows
are written at each checkpoint, the last of each device. A checkpoint comes every second, not every 5 as by default,
so that the end can be detected. Its guarantee is at least once.
"""

from __future__ import annotations

import asyncio
import time
from urllib.parse import parse_qs, urlsplit

from tables.database import Connection

from benchmarks.cpu import CpuMeter
from benchmarks.device_rows import applied, check_device_rows
from benchmarks.peer_environment import peer_python
from benchmarks.place import KAFKA, POSTGRES, Place
from benchmarks.processes import Running
from benchmarks.topic_records import open_topic
from benchmarks.wrk import RoundFailedError

QUIX = "Quix Streams"
POLL_SECONDS = 0.05
STUCK_SECONDS = 120.0
FEWEST_CHECKPOINTS = 2
TABLE_IS_THERE = "SELECT to_regclass('devices') IS NOT NULL"


async def measure_quix(place: Place, full_topic: str) -> tuple[float, dict[str, float]]:
    """Events a second, and CPU microseconds an event; every row checked.

    The rate is from the first checkpoint that is seen to the last one but one: the last waits for its time to come.
    """
    name = place.new_name()
    async with place.database(name) as (dsn, connection), open_topic(place.bootstrap_servers, full_topic) as topic:
        process = Running(peer_python("quix_fold.py"), place.folder / f"{name}.log", _settings(place, dsn, full_topic))
        try:
            meter = CpuMeter({QUIX: process.measured, POSTGRES: place.postgres.process, KAFKA: place.kafka.process})
            events = await topic.count()
            seen = await _checkpoints(connection, process, events)
            cpu = meter.microseconds(events)
        finally:
            await process.stop()
        await check_device_rows(connection, await topic.values())
    (start, first), (end, last) = seen[0], seen[-2] if len(seen) > FEWEST_CHECKPOINTS else seen[-1]
    return (last - first) / (end - start), cpu


def _settings(place: Place, dsn: str, topic: str) -> dict[str, str]:
    parts = urlsplit(dsn)
    server = parse_qs(parts.query)
    return {
        "BOOTSTRAP_SERVERS": place.bootstrap_servers,
        "TOPIC": topic,
        "GROUP": f"{topic}_quix",
        "STATE_DIR": str(place.folder / f"{topic}-quix"),
        "PGHOST": server["host"][0],
        "PGPORT": server["port"][0],
        "PGUSER": parts.username or "",
        "PGDATABASE": parts.path.removeprefix("/"),
    }


async def _checkpoints(connection: Connection, process: Running, events: int) -> list[tuple[float, int]]:
    """The moments at which rows were written, and how many events they tell of then, up to all of them."""
    seen: list[tuple[float, int]] = []
    moved = time.perf_counter()
    while not seen or seen[-1][1] < events:
        process.check_alive()
        now = await applied(connection) if await connection.fetchval(TABLE_IS_THERE) else 0
        if now > (seen[-1][1] if seen else 0):
            moved = time.perf_counter()
            seen.append((moved, now))
        elif time.perf_counter() - moved > STUCK_SECONDS:
            raise RoundFailedError(f"{QUIX} stopped at {now} of {events} events:\n{process.log_tail()}")
        await asyncio.sleep(POLL_SECONDS)
    if len(seen) < FEWEST_CHECKPOINTS:
        raise RoundFailedError(f"{QUIX} wrote {events} events in one checkpoint: use more events (--events)")
    return seen
