"""Devices publish while the worker and the broker are killed: what was acknowledged is stored once and in order.

With mosquitto, of the test's own or the embedded one, the worker is killed anywhere, and the broker with messages in it
that are in its file: mosquitto acknowledges before it writes. amqtt loses what is in flight when a worker dies, and
everything when it dies itself (docs/mqtt.md). So with amqtt nothing is in flight then; what devices publish while no
worker runs is kept, and the rest of the promise is the same.
"""

from __future__ import annotations

import pytest

from app.embedded.mqtt import broker as mqtt
from app.embedded.servers import EmbeddedServers
from tables.database import Connection

from tests.checking.check_store import check_store
from tests.checking.evidence import STORED
from tests.checking.history import History, Stored
from tests.faults.fleet_trials import EVENTS, AmqttTrial, EmbeddedTrial, FleetTrial, OwnBrokerTrial
from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.mosquitto import Mosquitto, mosquitto_program
from tests.support.servers.worker_process import WorkerProcess

# Thousands of messages a second: no other test may run.
pytestmark = [pytest.mark.faults, pytest.mark.alone]


async def check(trial: FleetTrial, connection: Connection) -> None:
    """Every event once, and in its device's order."""
    stored = [Stored(*row) for row in await connection.fetch(STORED)]
    sent = [one for device in trial.devices for one in device.sent]
    assert len(sent) == len(stored) == EVENTS
    assert check_store(History(sent=sent, stored=stored)) == []


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "SERVICES": "ingestion"}


async def test_worker_and_mosquitto_are_killed(settings: dict[str, str], connection: Connection) -> None:
    with server_folder() as folder:
        broker = Mosquitto(folder)
        address = {"MQTT_URL": broker.url, "MQTT_SHARED": "off", "MQTT_CLIENT_ID": "fleet"}
        worker = WorkerProcess(folder, **settings, **address)
        trial = OwnBrokerTrial(broker, worker, connection)
        await broker.start()
        try:
            await trial.run()
        finally:
            worker.stop()
            broker.kill()
    await check(trial, connection)


async def test_worker_and_embedded_mosquitto_are_killed(settings: dict[str, str], connection: Connection) -> None:
    mosquitto_program()
    port = free_port()
    with server_folder() as folder:
        address = {"MQTT_URL": "", "EMBEDDED_MQTT_PORT": str(port), "DATA_DIR": str(folder)}
        worker = WorkerProcess(folder, **settings, **address)
        trial = EmbeddedTrial(port, worker, connection, folder=folder)
        try:
            await trial.run()
        finally:
            worker.stop()
    await check(trial, connection)


async def test_worker_and_amqtt_are_killed_with_nothing_in_flight(
    settings: dict[str, str], connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "mosquitto", lambda: None)
    port = free_port()
    with server_folder(on_disk=True) as folder:
        address = {"MQTT_URL": "", "EMBEDDED_MQTT_PORT": str(port), "DATA_DIR": str(folder), "MQTT_PROTOCOL": "3.1.1"}
        worker = WorkerProcess(folder, **settings, **address)
        servers = EmbeddedServers(folder, mqtt_port=port)
        trial = AmqttTrial(port, worker, connection, folder=folder, servers=servers)
        try:
            await trial.run()
        finally:
            worker.stop()
            await servers.stop()
    await check(trial, connection)
