"""A fleet of devices, a worker and a broker, and how the two are killed meanwhile."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from app.embedded.mqtt import broker as mqtt
from app.embedded.servers import EmbeddedServers
from tables.database import Connection

from tests.faults.fleet import FleetDevice
from tests.support.servers.mosquitto import Mosquitto
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

DEVICES = 20
EVENTS = 10_000
# The rest is published when things have been broken, however long that takes on a busy machine.
MEANTIME_EVENTS = 9_000
SECONDS = 240.0
# What devices publish while no worker runs, or while it stands still.
MEANWHILE = 100
COUNT = "SELECT count(*) FROM event_store"


class FleetTrial:
    """One worker, one broker, a fleet; both are killed anywhere."""

    def __init__(
        self,
        port: int,
        worker: WorkerProcess,
        connection: Connection,
        *,
        version_5: bool = True,
    ) -> None:
        self.devices: Sequence[FleetDevice] = [
            FleetDevice(port, f"d{number}", version_5=version_5 and number % 2 == 0) for number in range(DEVICES)
        ]
        self.worker = worker
        self.allowed = 0
        self._connection = connection

    @property
    def acknowledged(self) -> int:
        """Events that the broker has acknowledged to their devices."""
        return sum(device.acknowledged for device in self.devices)

    async def run(self) -> None:
        """Publish all, break things meanwhile, and return when all is stored."""
        await self.start_worker()
        self._allow(MEANTIME_EVENTS)
        async with asyncio.TaskGroup() as group:
            for device in self.devices:
                group.create_task(device.run(EVENTS // DEVICES))
            group.create_task(self.break_things())
        await self.stored(1)

    async def break_things(self) -> None:
        """Five deaths of the worker, two of the broker."""
        await self.stored(0.1)
        await self.kill_worker_before_it_acknowledges()
        await self.stored(0.3)
        await self.kill_broker()
        await self.stored(0.45)
        await self.kill_worker_before_it_acknowledges()
        await self.stored(0.6)
        await self.kill_broker()
        await self.stored(0.75)
        assert self.acknowledged < EVENTS, "all was over before things broke"
        self._allow(EVENTS)
        await self.kill_worker()

    def _allow(self, events: int) -> None:
        self.allowed = events
        for device in self.devices:
            device.most = events // DEVICES

    async def stored(self, share: float) -> None:
        """Return when this share of the events is stored."""
        await self.when(lambda stored: stored >= share * EVENTS, f"{share:.0%} of the events are not stored")

    async def start_worker(self) -> None:
        """Return when it is connected."""
        self.worker.set(FAULT_POINTS="")
        starts = self.connections()
        self.worker.start()
        await self.connected_again(starts)

    async def kill_worker(self) -> None:
        """Anywhere."""
        self.worker.kill()
        await self.start_worker()

    async def kill_worker_before_it_acknowledges(self) -> None:
        """Anywhere, and then a second time between a commit and its acknowledgements."""
        self.worker.kill()
        self.worker.set(FAULT_POINTS="mqtt.committed=kill@2")
        self.worker.start()
        await asyncio.to_thread(self.worker.process.wait, SECONDS)
        assert self.worker.process.returncode == -9, self.worker.log.read_text()[-2000:]
        await self.start_worker()

    async def kill_broker(self) -> None:
        """With messages in it that the worker has not acknowledged."""
        raise NotImplementedError

    async def fill_broker(self, broker: psutil.Process, file: Path) -> None:
        """Devices publish while the worker stands still, until the broker's file has all that it acknowledged.

        mosquitto acknowledges before it writes, so only what it has written survives kill -9.
        """
        self.worker.process.send_signal(signal.SIGSTOP)
        await self.have_published_more(self.acknowledged)
        await self.are_quiet()
        written = file.stat().st_mtime_ns if file.exists() else 0
        broker.send_signal(signal.SIGUSR1)  # mosquitto writes its file

        async def is_written() -> bool:
            return file.exists() and file.stat().st_mtime_ns > written

        await until(is_written, SECONDS, "mosquitto did not write its file")

    def go_on(self) -> None:
        """The worker runs, and devices publish again."""
        self.worker.process.send_signal(signal.SIGCONT)
        for device in self.devices:
            device.go_on()

    async def have_published_more(self, before: int) -> None:
        """Return when some more events than so many are acknowledged."""

        async def have_published() -> bool:
            return self.acknowledged >= min(before + MEANWHILE, self.allowed)

        await until(have_published, SECONDS, "devices do not publish")

    async def are_quiet(self) -> None:
        """Let devices publish nothing; returns when all that they published is acknowledged."""
        for device in self.devices:
            device.hold()
        sent = [device.all_is_acknowledged for device in self.devices]

        async def is_acknowledged() -> bool:
            return all([await one() for one in sent])

        await until(is_acknowledged, SECONDS, "something is not acknowledged")

    def connections(self) -> int:
        """How often the worker has connected to the broker."""
        return self.worker.log.read_text().count("Connected to the MQTT broker") if self.worker.log.exists() else 0

    async def connected_again(self, before: int) -> None:
        """Return when it has connected more often than before."""

        async def is_connected() -> bool:
            return self.connections() > before

        await until(is_connected, SECONDS, "the worker did not connect")

    async def when(self, condition: Callable[[int], bool], message: str) -> None:
        """Return when the condition holds for the number of stored events."""

        async def holds() -> bool:
            return condition(int(await self._connection.fetchval(COUNT)))

        await until(holds, SECONDS, message)


class OwnBrokerTrial(FleetTrial):
    """mosquitto as somebody else runs it."""

    def __init__(self, broker: Mosquitto, worker: WorkerProcess, connection: Connection) -> None:
        super().__init__(broker.port, worker, connection)
        self._broker = broker

    async def kill_broker(self) -> None:
        """The worker lives, and comes again."""
        before = self.connections()
        await self.fill_broker(psutil.Process(self._broker.pid), self._broker.database)
        self._broker.kill()
        self.go_on()
        await self._broker.start()
        await self.connected_again(before)


class EmbeddedTrial(FleetTrial):
    """The broker is the worker's: it is started by a worker's start."""

    def __init__(
        self, port: int, worker: WorkerProcess, connection: Connection, *, folder: Path, version_5: bool = True
    ) -> None:
        super().__init__(port, worker, connection, version_5=version_5)
        self._folder = folder

    def broker(self) -> psutil.Process:
        """It runs."""
        process = mqtt.server(self._folder / "mqtt")
        assert process is not None
        return process

    async def kill_broker(self) -> None:
        """The broker, and, when it has taken what came from it, the worker."""
        ended = self._ended()
        await self.fill_broker(self.broker(), self._folder / "mqtt/data/mosquitto.db")
        self.broker().kill()
        self.go_on()

        async def has_taken_all() -> bool:
            return self._ended() > ended

        await until(has_taken_all, SECONDS, "the worker did not notice")
        self.worker.kill()
        await self.start_worker()

    def _ended(self) -> int:
        return self.worker.log.read_text().count("The connection to the MQTT broker")


class AmqttTrial(EmbeddedTrial):
    """Nothing is in flight when something is killed. The test starts the broker, and the worker finds it."""

    def __init__(
        self, port: int, worker: WorkerProcess, connection: Connection, *, folder: Path, servers: EmbeddedServers
    ) -> None:
        super().__init__(port, worker, connection, folder=folder, version_5=False)
        self._servers = servers

    async def start_worker(self) -> None:
        await self._servers.start_mqtt()
        await super().start_worker()

    async def kill_worker(self) -> None:
        """With everything stored; then devices publish while no worker runs."""
        await self._hold()
        self.worker.kill()
        before = self.acknowledged
        self._publish_again()
        await self.have_published_more(before)
        for device in self.devices:
            device.hold()
        await self.start_worker()
        await self._hold()
        self._publish_again()

    async def kill_worker_before_it_acknowledges(self) -> None:
        """Two deaths, like the others."""
        await self.kill_worker()
        await self.kill_worker()

    async def kill_broker(self) -> None:
        """And the worker, with everything stored. Devices publish again when it has subscribed again."""
        await self._hold()
        self.broker().kill()
        self.worker.kill()
        await self.start_worker()
        self._publish_again()

    async def _hold(self) -> None:
        await self.are_quiet()
        await self.when(lambda stored: stored == self.acknowledged, "something that was acknowledged is not stored")

    def _publish_again(self) -> None:
        for device in self.devices:
            device.go_on()
