"""Devices publish while the worker and the broker are killed: what was acknowledged is stored once and in order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

from checking.check_store import check_store
from checking.evidence import STORED
from checking.history import History, Stored
from conftest import server_folder
from fleet import FleetDevice
from mosquitto import Mosquitto, quick_folder
from waiting import until
from worker_process import WorkerProcess

DEVICES = 20
EVENTS = 10_000
SECONDS = 240.0
# What was acknowledged and is not stored, while a worker keeps up with its devices.
FEW = 200
COUNT = "SELECT count(*) FROM event_store"

pytestmark = pytest.mark.faults


class Trial:
    """One worker, one broker, a fleet."""

    def __init__(
        self, worker: WorkerProcess, broker: Mosquitto, connection: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        self.devices: Sequence[FleetDevice] = [
            FleetDevice(broker.port, f"d{number}", version_5=number % 2 == 0) for number in range(DEVICES)
        ]
        self._worker = worker
        self._broker = broker
        self._connection = connection

    async def stored(self, share: float) -> None:
        """Return when this share of the events is stored."""
        await self._when(lambda stored: stored >= share * EVENTS, f"{share:.0%} of the events are not stored")

    async def start_worker(self) -> None:
        """Return when it is connected."""
        self._worker.set(FAULT_POINTS="")
        starts = self._connections()
        self._worker.start()

        async def is_connected() -> bool:
            return self._connections() > starts

        await until(is_connected, SECONDS, "the worker did not connect")

    async def kill_worker(self) -> None:
        """Anywhere."""
        self._worker.kill()
        await self.start_worker()

    async def kill_worker_before_it_acknowledges(self) -> None:
        """Anywhere, and then a second time between a commit and its acknowledgements."""
        self._worker.kill()
        self._worker.set(FAULT_POINTS="mqtt.committed=kill@2")
        self._worker.start()
        await asyncio.to_thread(self._worker.process.wait, SECONDS)
        assert self._worker.process.returncode == -9, self._worker.log.read_text()[-2000:]
        await self.start_worker()

    async def kill_broker(self) -> None:
        """While the worker keeps up. (mosquitto acknowledges, and then writes what waits: docs/mqtt.md.)"""
        await self._when(
            lambda stored: sum(device.acknowledged for device in self.devices) - stored < FEW,
            "the worker does not keep up",
        )
        starts = self._connections()
        self._broker.kill()
        await self._broker.start()

        async def is_connected() -> bool:
            return self._connections() > starts

        await until(is_connected, SECONDS, "the worker did not connect again")

    def _connections(self) -> int:
        return self._worker.log.read_text().count("Connected to the MQTT broker") if self._worker.log.exists() else 0

    async def _when(self, condition: Callable[[int], bool], message: str) -> None:
        async def holds() -> bool:
            return condition(int(await self._connection.fetchval(COUNT)))

        await until(holds, SECONDS, message)


async def test_worker_and_mosquitto_are_killed(database_dsn: str, kafka: str, topic: str) -> None:
    connection = await asyncpg.connect(database_dsn)
    with server_folder() as folder, tempfile.TemporaryDirectory(prefix="headrace-tests-", dir=quick_folder()) as quick:
        broker = Mosquitto(Path(quick))
        worker = WorkerProcess(
            folder,
            MQTT_URL=broker.url,
            MQTT_SHARED="off",
            MQTT_CLIENT_ID="fleet",
            DATABASE_URL=database_dsn,
            BROKER_URL=kafka,
            TOPIC=topic,
            SERVICES="ingestion",
        )
        trial = Trial(worker, broker, connection)
        await broker.start()
        try:
            await trial.start_worker()
            async with asyncio.TaskGroup() as group:
                for device in trial.devices:
                    group.create_task(device.run(EVENTS // DEVICES))
                group.create_task(_break_things(trial))
            await trial.stored(1)
        finally:
            worker.stop()
            broker.kill()
    stored = [Stored(*row) for row in await connection.fetch(STORED)]
    await connection.close()
    sent = [one for device in trial.devices for one in device.sent]
    assert len(sent) == len(stored) == EVENTS
    assert check_store(History(sent=sent, stored=stored)) == []


async def _break_things(trial: Trial) -> None:
    await trial.stored(0.1)
    await trial.kill_worker_before_it_acknowledges()
    await trial.stored(0.3)
    await trial.kill_broker()
    await trial.stored(0.45)
    await trial.kill_worker_before_it_acknowledges()
    await trial.stored(0.6)
    await trial.kill_broker()
    await trial.stored(0.75)
    await trial.kill_worker()
