"""One round's Headrace: its workers, and what its database tells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import psutil

from app.embedded.ports import free_port
from tables.database import Connection

from benchmarks.client import post_batches
from benchmarks.cpu import CpuMeter
from benchmarks.processes import ROOT, Running, environment, finished, python
from benchmarks.wrk import RoundFailedError

PROJECTIONS = ("devices", "readings_hourly", "event_types")
WARM_UP_EVENTS = 2_000
WARM_UP_BATCH = 200
POLL_SECONDS = 0.01
# Without any progress for so long, a round has failed.
STUCK_SECONDS = 120.0
COMMAND_SECONDS = 60.0

LAST_POSITION = "SELECT last_position FROM relay_state"
# A lower bound that is cheap to ask for often; equal to the last position exactly when all is applied.
PROJECTED = """
SELECT coalesce(min(CASE WHEN p.position >= t.last_position THEN s.last_position ELSE coalesce(p.position, 0) END), 0)
FROM topic_partitions AS t CROSS JOIN unnest($1::text[]) AS name CROSS JOIN relay_state AS s
LEFT JOIN progress AS p ON p.projection = name AND p.partition = t.partition
"""
OUTBOX_IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM outbox)"


class Worker:
    """`faust -A app worker`, ready."""

    def __init__(self, process: Running, ingestion_port: int, query_port: int) -> None:
        self.process = process
        self.ingestion_port = ingestion_port
        self.ingestion = f"http://127.0.0.1:{ingestion_port}"
        self.query = f"http://127.0.0.1:{query_port}"
        self.headers: dict[str, str] = {}
        """What clients send with every request."""


class System:
    """A database and a topic of its own, with the workers that were started on them."""

    def __init__(
        self, folder: Path, connection: Connection, settings: Mapping[str, str], servers: Mapping[str, psutil.Process]
    ) -> None:
        self.connection = connection
        self.topic = settings["TOPIC"]
        self.dsn = settings["DATABASE_URL"]
        self._folder = folder
        self._settings = {**settings, "MQTT_URL": "off", "DATA_DIR": str(folder / "none")}
        self._servers = servers
        self._workers: dict[str, Worker] = {}

    async def start(self, kind: str, services: str, **settings: str) -> Worker:
        """Start a worker, known as `kind` in the CPU figures; returns when the services that listen are ready.

        Only the events that it applies show that an event handler has started: see `warm_up`.
        """
        ingestion_port = free_port(but=0)
        query_port = free_port(but=ingestion_port)
        process = Running(
            python("-m", "faust", "-A", "app", "worker"),
            self._folder / f"{self.topic}-{len(self._workers)}.log",
            {
                **self._settings,
                "SERVICES": services,
                "INGESTION_PORT": str(ingestion_port),
                "QUERY_PORT": str(query_port),
                "HEALTH_PORT": str(free_port(but=query_port)),
                **settings,
            },
        )
        worker = self._workers[kind] = Worker(process, ingestion_port, query_port)
        if "ingestion" in services:
            await process.answers(f"{worker.ingestion}/readyz")
        if "query" in services:
            await process.answers(f"{worker.query}/readyz")
        return worker

    async def stop(self, *kinds: str) -> None:
        """End these workers, or all."""
        chosen = [self._workers.pop(kind) for kind in kinds or tuple(self._workers)]
        await asyncio.gather(*(worker.process.stop() for worker in chosen))

    async def command(self, *arguments: str) -> bytes:
        """The output of `faust -A app` with these arguments. Raises RoundFailedError when it fails."""
        command = python("-m", "faust", "-A", "app", *arguments)
        variables = environment(self._settings)
        ended = await finished(command, folder=ROOT, seconds=COMMAND_SECONDS, variables=variables)
        if ended.code:
            raise RoundFailedError(f"{arguments[0]} ended with {ended.code}: {ended.complaints.decode()[-500:]}")
        return ended.output

    def cpu_meter(self, others: Mapping[str, psutil.Process] | None = None) -> CpuMeter:
        """Measures the workers that run now, the servers and the others, from now."""
        workers = {kind: worker.process.measured for kind, worker in self._workers.items()}
        return CpuMeter({**workers, **self._servers, **(others or {})})

    async def warm_up(self, worker: Worker) -> int:
        """Post a few events and return when they are projected: then every part works, in every partition.

        Returns how many.
        """
        await post_batches(
            worker.ingestion_port, "warm-up", events=WARM_UP_EVENTS, size=WARM_UP_BATCH, headers=worker.headers
        )
        await self.until_projected(WARM_UP_EVENTS)
        return WARM_UP_EVENTS

    async def last_position(self) -> int:
        """How many events are stored."""
        position: int = await self.connection.fetchval(LAST_POSITION)
        return position

    async def projected(self) -> int:
        """A position up to which every projection has applied everything; the last one when nothing is left."""
        position: int = await self.connection.fetchval(PROJECTED, PROJECTIONS)
        return position

    async def until_published(self, events: int) -> None:
        """Return when at least so many are stored and the outbox is empty."""
        await self.until(self.last_position, events)

        async def is_empty() -> int:
            return int(await self.connection.fetchval(OUTBOX_IS_EMPTY))

        await self.until(is_empty, 1)

    async def until_projected(self, events: int) -> None:
        """Return when at least so many events are stored, and every projection has applied all that are stored."""
        await self.until_published(events)
        await self.until(self.projected, await self.last_position())

    async def until(self, measure: Callable[[], Awaitable[int]], least: int) -> None:
        """Return when the measure is at least this. Raises RoundFailedError when it does not rise for long."""
        last = -1
        while True:
            try:
                async with asyncio.timeout(STUCK_SECONDS):
                    while (now := await measure()) <= last:
                        self._check_alive()
                        await asyncio.sleep(POLL_SECONDS)
            except TimeoutError as error:
                logs = "\n".join(worker.process.log_tail() for worker in self._workers.values())
                raise RoundFailedError(
                    f"{last} of {least}, without progress for {STUCK_SECONDS:.0f} s:\n{logs}"
                ) from error
            if now >= least:
                return
            last = now

    def _check_alive(self) -> None:
        for worker in self._workers.values():
            worker.process.check_alive()
