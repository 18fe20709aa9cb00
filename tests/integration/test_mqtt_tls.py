"""The bridge over TLS, to a mosquitto that asks for certificates: who is let in, and what a wrong file is called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agents.mqtt.bridge import MqttBridge
from agents.mqtt.client import MqttAwayError, MqttClient
from agents.projections.devices import devices
from app.settings import read_settings
from app.worker.broker_address import mqtt_address
from headrace.errors import InvalidSettingError
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from tables.database import Database, Pool
from tables.intake.group_commit import GroupCommit

from tests.support.servers.certificates import Authority
from tests.support.servers.fresh import server_folder
from tests.support.servers.shipped_mosquitto import ShippedMosquitto
from tests.support.waiting import until

SECONDS = 30.0
ATTEMPTS = 5
"""The broker resets the connection after a refusal: sometimes nothing else arrives. A bridge retries."""
EVENT = {
    "specversion": "1.0",
    "id": "r-1",
    "source": "/greenhouse",
    "type": "reading.recorded",
    "data": {"metric": "temperature", "value": 21},
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


@pytest.fixture
async def shipped(folder: Path) -> AsyncIterator[ShippedMosquitto]:
    made = ShippedMosquitto(folder, asks_for_certificates=True)
    await made.broker.start()
    yield made
    made.broker.kill()


def make_bridge(settings: dict[str, str], database: Database) -> MqttBridge:
    return MqttBridge(
        mqtt_address(read_settings(settings), host_name="tests"),
        database,
        GroupCommit(database, max_queued_events=20_000, committed=lambda: None),
        EventTypes([devices]),
        Limits(),
        max_in_flight=100,
    )


@pytest.mark.parametrize("in_one_file", [False, True])
async def test_a_worker_shows_its_certificate(
    shipped: ShippedMosquitto, folder: Path, database: Database, pool: Pool, in_one_file: bool
) -> None:
    ours = shipped.authority.issue("worker")
    settings = shipped.settings() | {"MQTT_CERTIFICATE_FILE": str(ours.certificate), "MQTT_KEY_FILE": str(ours.key)}
    if in_one_file:
        both = folder / "both.pem"
        both.write_bytes(ours.certificate.read_bytes() + ours.key.read_bytes())
        settings |= {"MQTT_CERTIFICATE_FILE": str(both), "MQTT_KEY_FILE": ""}
    bridge = make_bridge(settings, database)
    await bridge.start()
    try:
        async with shipped.device("d1", outside=False) as device:
            await device.publish(EVENT)

            async def is_there() -> bool:
                return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE id = 'r-1')"))

            await until(is_there, SECONDS)
    finally:
        await bridge.stop()


@pytest.mark.parametrize("shows", ["none", "another authority's"])
async def test_a_worker_without_a_certificate_of_the_authority_is_not_let_in(
    shipped: ShippedMosquitto, folder: Path, shows: str
) -> None:
    settings = shipped.settings()
    if shows != "none":
        other = Authority(folder, "other").issue("stranger")
        settings |= {"MQTT_CERTIFICATE_FILE": str(other.certificate), "MQTT_KEY_FILE": str(other.key)}
    for _ in range(ATTEMPTS):
        with pytest.raises((MqttAwayError, OSError)) as refused:
            await connect(settings)
        if "refused the certificate" in str(refused.value):
            break
    assert "refused the certificate of this worker" in str(refused.value)
    assert "correct MQTT_CERTIFICATE_FILE" in str(refused.value)


async def test_a_broker_that_the_authorities_do_not_know_is_not_believed(
    shipped: ShippedMosquitto, folder: Path
) -> None:
    other = Authority(folder, "other")
    with pytest.raises(MqttAwayError, match=r"CERTIFICATE_VERIFY_FAILED.*; correct MQTT_CA_FILE"):
        await connect(shipped.settings() | {"MQTT_CA_FILE": str(other.own.certificate)})
    elsewhere = shipped.settings()["MQTT_URL"].replace("localhost", "127.0.0.1")
    with pytest.raises(MqttAwayError, match="CERTIFICATE_VERIFY_FAILED"):
        await connect(shipped.settings() | {"MQTT_URL": elsewhere})


async def test_a_bridge_waits_for_a_broker_that_is_not_believed_and_says_why(
    shipped: ShippedMosquitto, folder: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(folder, "other")
    bridge = make_bridge(shipped.settings() | {"MQTT_CA_FILE": str(other.own.certificate)}, database)
    await bridge.start()
    try:

        async def is_told() -> bool:
            return "its certificate is not accepted (CERTIFICATE_VERIFY_FAILED" in caplog.text

        await until(is_told, SECONDS)
        assert not bridge.crashed
    finally:
        await bridge.stop()


@pytest.mark.parametrize("wrong", ["MQTT_CA_FILE", "MQTT_CERTIFICATE_FILE", "MQTT_KEY_FILE"])
async def test_a_file_that_cannot_be_used_stops_the_bridge_at_once_and_is_named(
    folder: Path, database: Database, wrong: str
) -> None:
    authority = Authority(folder, "authority")
    ours = authority.issue("worker")
    settings = {
        "MQTT_URL": "mqtts://localhost",
        "MQTT_CA_FILE": str(authority.own.certificate),
        "MQTT_CERTIFICATE_FILE": str(ours.certificate),
        "MQTT_KEY_FILE": str(ours.key),
    }
    (folder / "no.pem").write_text("not PEM")
    # OpenSSL would ask the terminal for its password.
    locked = authority.locked(ours.key)
    for path in (folder / "no.pem", locked):
        with pytest.raises(InvalidSettingError, match=f"{wrong}={path}.*cannot be used"):
            await make_bridge(settings | {wrong: str(path)}, database).start()


async def connect(settings: dict[str, str]) -> None:
    address = mqtt_address(read_settings(settings), host_name="tests")
    client = await MqttClient.connect(address, max_in_flight=10, subscribe_to="devices/+/events")
    await client.close()
