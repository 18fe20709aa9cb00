"""Hostile messages, to mosquitto as it is shipped and a worker behind it."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tables.database import Connection

from tests.support.clients.device_client import DeviceClient, acknowledged, properties
from tests.support.clients.raw_device import RawDevice
from tests.support.data.hostile_messages import FATES, Hostile, hostile_messages
from tests.support.servers.fresh import server_folder
from tests.support.servers.mosquitto import OPEN, Mosquitto
from tests.support.servers.own_postgres import OwnPostgres
from tests.support.servers.shipped_mosquitto import ShippedMosquitto
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

SECONDS = 60.0
EXPIRED_SECONDS = 1.5
WORKER = "hostile-worker"
STORED = """
SELECT count(*) FROM (SELECT id FROM outbox WHERE id = $1 UNION SELECT id FROM event_store WHERE id = $1) AS found
"""
SUBJECT = "SELECT subject FROM event_store WHERE id = $1"
LETTERS = "SELECT coalesce(sum(times), 0) FROM dead_letters"
FLOOD = "flood_10k_while_db_down"
FENCE = "devices/fence/events"

fences = itertools.count(1)


class Attacked:
    """The broker, the worker behind it, and a gateway that may publish for every device."""

    def __init__(
        self, shipped: ShippedMosquitto, worker: WorkerProcess, gateway: DeviceClient, connection: Connection
    ) -> None:
        self.port = shipped.broker.port
        self.gateway = gateway
        self.worker = worker
        self._shipped = shipped
        self._connection = connection

    async def fate(self, hostile: Hostile) -> tuple[int, int]:
        """How many events and dead letters became of it, when what came after it is stored."""
        before = await self._connection.fetchval(LETTERS)
        await self.send(hostile)
        # The letters of a group of messages are kept after its events, and before the next group.
        for _ in range(2):
            await self._is_alive_after(hostile)
        stored = await self._connection.fetchval(STORED, hostile.event_id)
        return stored, await self._connection.fetchval(LETTERS) - before

    async def _is_alive_after(self, hostile: Hostile) -> None:
        fence = {"specversion": "1.0", "id": f"fence-{next(fences)}", "source": "/fence", "type": "test.created"}
        await self.gateway.publish(fence, FENCE)

        async def is_there() -> bool:
            assert self.worker.process.poll() is None, self.worker.log.read_text()[-4000:]
            return bool(await self._connection.fetchval(STORED, fence["id"]))

        await until(is_there, SECONDS, f"nothing is stored after {hostile.name}")

    async def send(self, hostile: Hostile) -> None:
        """As its case says."""
        special = getattr(self, f"_{hostile.name}", None)
        if special is not None:
            await special(hostile)
        elif hostile.case.get("raw_packet"):
            assert not await self._publish_raw("odd", "gateway", hostile)
        elif hostile.case.get("requires") == "acl":
            for user in ("d2", hostile.case["client_id"]):
                await self._publish_raw(hostile.case["client_id"], user, hostile)
        else:
            await self._publish(hostile)

    async def _publish(self, hostile: Hostile) -> None:
        case = hostile.case
        given: dict[str, Any] = dict(case.get("properties", {}))
        if "UserProperty" in given:
            given["UserProperty"] = [(f"name-{number}", "value") for number in range(given["UserProperty"])]
        made = properties(**given) if given else None
        paho = self.gateway.paho
        await acknowledged(paho.publish(hostile.topic, hostile.payload, case["qos"], case["retain"], made))

    async def _publish_raw(self, client_id: str, user: str, hostile: Hostile) -> bool:
        async with RawDevice(self.port, client_id, user=user) as device:
            return device.is_let_in and await device.publish(hostile.topic, hostile.payload)

    async def _topic_of_other_device(self, hostile: Hostile) -> None:
        await self._publish_raw("d1", "d1", hostile)

    async def _dup_redelivery(self, hostile: Hostile) -> None:
        for dup in (False, True):
            async with RawDevice(self.port, "again", user="gateway", clean=False) as device:
                assert await device.publish(hostile.topic, hostile.payload, dup=dup)

    async def _retained_event_replayed(self, hostile: Hostile) -> None:
        """Its session is taken over by another, so the worker comes again and subscribes."""
        await self._publish(hostile)
        for _ in range(hostile.case["reconnects"]):
            before = self._retained()
            async with RawDevice(self.port, WORKER, user="headrace", clean=False) as other:
                assert other.is_let_in
            await until(lambda before=before: self._has_come_again(before), SECONDS, "it does not come again")  # type: ignore[misc]
        # Nothing of it for the cases that follow.
        await acknowledged(self.gateway.paho.publish(hostile.topic, b"", 0, retain=True))

    async def _v5_expired_message(self, hostile: Hostile) -> None:
        connected = self._connections()
        self.worker.stop()
        published = time.monotonic()
        await self._publish(hostile)

        async def has_expired() -> bool:
            return time.monotonic() > published + EXPIRED_SECONDS

        await until(has_expired, SECONDS)
        self.worker.start()
        await until(lambda: self._has_connected(connected), SECONDS, "the worker does not return")

    def _retained(self) -> int:
        return self._shipped.broker.log.read_text().count(f"Sending PUBLISH to {WORKER} (d0, q1, r1, ")

    async def _has_come_again(self, before: int) -> bool:
        return self._retained() > before

    def _connections(self) -> int:
        return self.worker.log.read_text().count("Connected to the MQTT broker")

    async def _has_connected(self, before: int) -> bool:
        return self._connections() > before


@asynccontextmanager
async def attacked(dsn: str, kafka: str, topic: str, connection: Connection) -> AsyncIterator[Attacked]:
    with server_folder() as folder:
        shipped = ShippedMosquitto(folder)
        await shipped.broker.start()
        url = f"mqtt://headrace:secret%20of%20headrace@127.0.0.1:{shipped.broker.port}"
        # A shared subscription is sent nothing that was retained.
        settings = {"MQTT_URL": url, "MQTT_SHARED": "off", "MQTT_CLIENT_ID": WORKER, "SERVICES": "ingestion"}
        worker = WorkerProcess(folder, DATABASE_URL=dsn, BROKER_URL=kafka, TOPIC=topic, **settings)
        worker.start()
        try:
            await worker.ready()
            async with shipped.device("gateway") as gateway:
                made = Attacked(shipped, worker, gateway, connection)
                await until(lambda: made._has_connected(0), SECONDS)
                yield made
        finally:
            worker.stop()
            shipped.broker.kill()


async def test_hostile_messages_are_refused_or_kept_as_text_and_stop_nobody(
    database_dsn: str, kafka: str, topic: str, connection: Connection
) -> None:
    messages = hostile_messages()
    assert messages.keys() == FATES.keys()
    found: dict[str, tuple[int, int]] = {}
    async with attacked(database_dsn, kafka, topic, connection) as system:
        for name, message in messages.items():
            if name != FLOOD:
                found[name] = await system.fate(message)

        async def is_stored() -> bool:
            return await connection.fetchval("SELECT NOT EXISTS (SELECT FROM outbox)")  # type: ignore[no-any-return]

        await until(is_stored, SECONDS)
    wrong = {
        name: (fate, FATES[name])
        for name, fate in found.items()
        if fate[0] not in FATES[name].stored or fate[1] not in FATES[name].letters
    }
    assert wrong == {}
    for name, subject in (("topic_dotdot", ".."), ("topic_sql", "d1'; drop table outbox;--")):
        assert await connection.fetchval(SUBJECT, messages[name].event_id) == subject


async def test_a_flood_while_the_database_is_down_is_stored_when_it_is_back(
    own_postgres: OwnPostgres, kafka: str, topic: str
) -> None:
    flood = hostile_messages()[FLOOD]
    ids = [f"{flood.event_id}-{number:05}" for number in range(flood.case["count"])]
    database = own_postgres.dsn(await own_postgres.new_database())
    with server_folder() as folder:
        # It is not mosquitto that breaks, and it would write all that waits again and again.
        broker = Mosquitto(folder, OPEN.replace("persistence true", "persistence false"))
        await broker.start()
        settings = {"MQTT_URL": broker.url, "MQTT_CLIENT_ID": WORKER, "SERVICES": "ingestion"}
        worker = WorkerProcess(folder, DATABASE_URL=database, BROKER_URL=kafka, TOPIC=topic, **settings)
        worker.start()
        try:
            await until(lambda: _says(worker, "Connected to the MQTT broker"), SECONDS)
            await own_postgres.stop_immediately()
            device = DeviceClient(broker.url, "d1")
            device.paho.max_inflight_messages_set(1_000)
            async with device:
                sent = [device.send(flood.payload.replace(flood.event_id.encode(), one.encode())) for one in ids]
                await acknowledged(sent[-1])
            assert f"Received PUBACK from {WORKER}" not in broker.log.read_text()
            assert await _says(worker, "Holding device messages unacknowledged")
            await own_postgres.start()
            await until(lambda: _has_stored(database, len(ids)), SECONDS, "not all is stored")
        finally:
            worker.stop()
            broker.kill()
            await own_postgres.start()
    connection = await asyncpg.connect(database)
    found = await connection.fetch("SELECT id FROM event_store ORDER BY position")
    await connection.close()
    assert [one["id"] for one in found] == ids


async def _says(worker: WorkerProcess, text: str) -> bool:
    assert worker.process.poll() is None, worker.log.read_text()[-4000:]
    return text in worker.log.read_text()


async def _has_stored(dsn: str, events: int) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM event_store")) >= events
    finally:
        await connection.close()
