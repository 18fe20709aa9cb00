"""Two workers share what devices publish, and one is killed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tables.database import Connection

from tests.support.clients.device_client import DeviceClient, acknowledged
from tests.support.servers.fresh import server_folder
from tests.support.servers.mosquitto import Mosquitto
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

SECONDS = 60.0
DEVICES = 10
# Fewer for each worker than may be unacknowledged: all of them are sent.
IN_FLIGHT = 400
LATER = 100
NAMES = ("w1", "w2")
STORED = "SELECT source || ' ' || id FROM event_store"
LOCK = "LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE"

pytestmark = [pytest.mark.faults, pytest.mark.alone]


class Pair:
    """Two workers behind one mosquitto."""

    def __init__(self, broker: Mosquitto, workers: list[WorkerProcess], connection: Connection) -> None:
        self.broker = broker
        self.workers = workers
        self._connection = connection

    def sent(self) -> Counter[str]:
        """How many messages mosquitto has sent to each client."""
        return Counter(re.findall(r"Sending PUBLISH to (\w+) ", self.broker.log.read_text()))

    async def until_sent(self, count: int) -> Counter[str]:
        """The same, when it has sent so many to the two."""

        async def are_sent() -> bool:
            return sum(self.sent()[name] for name in NAMES) >= count

        await until(are_sent, SECONDS)
        return self.sent()

    async def publish(self, numbers: range) -> set[str]:
        """Events of all devices; their names, when the broker has acknowledged all."""
        async with DeviceClient(self.broker.url, "fleet") as gateway:
            sent, names = [], set()
            for number in numbers:
                device = f"d{number % DEVICES}"
                event = {"specversion": "1.0", "id": str(number), "source": f"/{device}", "type": "test.created"}
                sent.append(gateway.send(event, f"devices/{device}/events"))
                names.add(f"/{device} {number}")
            for one in sent:
                await acknowledged(one)
        return names

    async def start(self, worker: WorkerProcess) -> None:
        """Return when it is connected."""
        before = _connections(worker)
        worker.start()

        async def is_connected() -> bool:
            return _connections(worker) > before

        await until(is_connected, SECONDS)

    async def stored(self, count: int) -> list[str]:
        """The names of all events that are stored, when they are so many."""

        async def are_there() -> bool:
            return len(await self._connection.fetch(STORED)) >= count

        await until(are_there, SECONDS, f"not {count} events are stored")
        return [row[0] for row in await self._connection.fetch(STORED)]


def _connections(worker: WorkerProcess) -> int:
    return worker.log.read_text().count("Connected to the MQTT broker") if worker.log.exists() else 0


@pytest.fixture
async def pair(database_dsn: str, kafka: str, topic: str, connection: Connection) -> AsyncIterator[Pair]:
    with server_folder(on_disk=True) as folder:
        broker = Mosquitto(folder)
        await broker.start()
        settings = {"MQTT_URL": broker.url, "DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic}
        workers = [WorkerProcess(folder, SERVICES="ingestion", MQTT_CLIENT_ID=name, **settings) for name in NAMES]
        made = Pair(broker, workers, connection)
        try:
            for worker in workers:
                await made.start(worker)
            yield made
        finally:
            for worker in workers:
                worker.stop()
            broker.kill()


async def test_one_of_two_that_share_is_killed_with_messages_in_flight(pair: Pair, database_dsn: str) -> None:
    """A worker is killed while another shares the load over MQTT."""
    blocking = await asyncpg.connect(database_dsn)
    async with blocking.transaction():
        # Nobody commits, so all that is sent stays in flight.
        await blocking.execute(LOCK)
        names = await pair.publish(range(IN_FLIGHT))
        shares = await pair.until_sent(IN_FLIGHT)
        pair.workers[0].kill()
    await blocking.close()
    assert min(shares[name] for name in NAMES) > IN_FLIGHT // 4
    assert "Received PUBACK from w1" not in pair.broker.log.read_text()
    # What comes while one is away is acknowledged, too.
    names |= await pair.publish(range(IN_FLIGHT, IN_FLIGHT + LATER))
    assert len(await pair.stored(shares["w2"])) < len(names)
    await pair.start(pair.workers[0])
    assert sorted(await pair.stored(len(names))) == sorted(names)
