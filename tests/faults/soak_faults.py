"""The faults of the soak: each does its harm, and heals itself after a while."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from tests.faults.faulty_worker import FaultyWorker
from tests.support.servers.own_kafka import OwnKafka
from tests.support.servers.own_postgres import OwnPostgres
from tests.support.servers.tcp_proxy import Passing, TcpProxy

SECONDS = (1.0, 8.0)
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headrace'"
TERMINATE_LISTENING = f"{TERMINATE} AND query ILIKE 'LISTEN%'"

Fault = Callable[[], Awaitable[None]]


class SoakFaults:
    """What can go wrong with these workers and servers. At each of them one thing at a time."""

    def __init__(
        self,
        chance: random.Random,
        workers: Sequence[FaultyWorker],
        postgres: OwnPostgres,
        kafka: OwnKafka,
        proxy: TcpProxy,
    ) -> None:
        self.names: list[str] = []
        """The faults until now."""
        self._chance = chance
        self._workers = workers
        self._postgres = postgres
        self._kafka = kafka
        self._proxy = proxy
        self._at_work: dict[object, asyncio.Future[None]] = {}

    def one(self) -> str:
        """Let a random fault begin; its name."""
        name, target, fault = self._choose()
        self._at_work[target] = asyncio.ensure_future(fault())
        self.names.append(name)
        return name

    async def end(self) -> None:
        """Return when all is healed. Raises what went wrong in a fault."""
        await asyncio.gather(*self._at_work.values())

    def _choose(self) -> tuple[str, object, Fault]:
        worker = self._chance.choice(self._workers)
        possible: list[tuple[str, object, Fault]] = [
            *[(f"kill {worker.services}", worker, lambda: self._kill(worker))] * 4,
            *[(f"freeze {worker.services}", worker, lambda: self._freeze(worker))] * 3,
            (f"stop {worker.services}", worker, lambda: self._stop(worker)),
            ("PostgreSQL restarts at once", self._postgres, self._restart_postgres),
            ("PostgreSQL is killed", self._postgres, self._kill_postgres),
            ("PostgreSQL freezes", self._postgres, self._freeze_postgres),
            ("connections are ended", self._postgres, lambda: self._postgres.execute(TERMINATE)),
            ("LISTEN is ended", self._postgres, lambda: self._postgres.execute(TERMINATE_LISTENING)),
            ("Kafka is killed", self._kafka, self._kill_kafka),
            ("Kafka freezes", self._kafka, self._freeze_kafka),
            ("Kafka's answers are lost", self._kafka, lambda: self._lose(Passing.REQUESTS)),
            ("Kafka is in a black hole", self._kafka, lambda: self._lose(Passing.NOTHING)),
            ("Kafka's connections are reset", self._kafka, self._reset),
        ]
        free = [one for one in possible if one[1] not in self._at_work or self._at_work[one[1]].done()]
        return self._chance.choice(free) if free else ("nothing: all is broken", None, self._nothing)

    async def _while(self) -> None:
        await asyncio.sleep(self._chance.uniform(*SECONDS))

    async def _nothing(self) -> None:
        return

    async def _kill(self, worker: FaultyWorker) -> None:
        worker.kill()

    async def _stop(self, worker: FaultyWorker) -> None:
        worker.process.terminate()

    async def _freeze(self, worker: FaultyWorker) -> None:
        process = worker.process
        worker.freeze()
        await self._while()
        if worker.process is process:
            worker.thaw()

    async def _restart_postgres(self) -> None:
        await self._postgres.stop_immediately()
        await self._while()
        await self._postgres.start()

    async def _kill_postgres(self) -> None:
        await self._postgres.kill()
        await self._postgres.start()

    async def _freeze_postgres(self) -> None:
        self._postgres.freeze()
        await self._while()
        self._postgres.thaw()

    async def _kill_kafka(self) -> None:
        await self._kafka.kill()
        await self._while()
        await self._kafka.start()

    async def _freeze_kafka(self) -> None:
        self._kafka.freeze()
        await self._while()
        self._kafka.thaw()

    async def _lose(self, passing: Passing) -> None:
        self._proxy.let_pass(passing)
        await self._while()
        self._proxy.let_pass(Passing.EVERYTHING)

    async def _reset(self) -> None:
        self._proxy.reset()
