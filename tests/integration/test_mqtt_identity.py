"""Two devices at the shipped mosquitto, and the bridge: a device acts for itself only."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agents.mqtt.bridge import MqttBridge
from agents.mqtt.client import MqttClient
from app.settings import read_settings
from app.worker.broker_address import mqtt_address
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from tables.database import Database, Pool
from tables.intake import dead_letters
from tables.intake.group_commit import GroupCommit

from tests.support.clients.device_client import DeviceClient
from tests.support.servers.fresh import server_folder
from tests.support.servers.shipped_mosquitto import ShippedMosquitto
from tests.support.waiting import until

SECONDS = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


@pytest.fixture
async def shipped(folder: Path) -> AsyncIterator[ShippedMosquitto]:
    made = ShippedMosquitto(folder)
    await made.broker.start()
    yield made
    made.broker.kill()


@asynccontextmanager
async def bridge_of(shipped: ShippedMosquitto, database: Database, **more: str) -> AsyncIterator[MqttBridge]:
    settings = read_settings({**shipped.settings(), "MQTT_SOURCES": "/devices/{device}/", **more})
    bridge = MqttBridge(
        mqtt_address(settings, host_name="tests"),
        database,
        GroupCommit(database, max_queued_events=20_000, committed=lambda: None),
        EventTypes([]),
        Limits(),
        max_in_flight=100,
        sources=settings.device_sources,
    )
    await bridge.start()
    try:

        async def connected() -> bool:
            return bridge.is_connected

        await until(connected, SECONDS, "the bridge did not connect")
        yield bridge
    finally:
        await bridge.stop()


def event(device: str, number: int = 1, **members: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": str(number), "source": f"/devices/{device}", "type": "tested", **members}


async def send(device: DeviceClient, sent: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Publish an event, and return the answer to it."""
    before = len(device.answers)
    await device.publish(sent, ResponseTopic=device.response_topic, **members)

    async def answered() -> bool:
        return len(device.answers) > before

    await until(answered, SECONDS, "no answer")
    return dict(json.loads(device.answers[before].payload))


async def stored(pool: Pool) -> list[tuple[str, str, str]]:
    """Subject, source and id of all events."""
    rows = await pool.fetch("SELECT source, id, event::jsonb ->> 'subject' AS subject FROM outbox ORDER BY seq")
    return [(row["subject"], row["source"], row["id"]) for row in rows]


async def codes(pool: Pool) -> list[str]:
    async with pool.acquire() as connection:
        return [one.code for one in reversed((await dead_letters.newest(connection, at_most=100)).letters)]


async def attempt(device: DeviceClient, payload: dict[str, Any], topic: str, **members: Any) -> None:
    """Publish what the broker refuses. paho 2.2 cannot read the PUBACK with the reason, and reconnects."""
    with suppress(RuntimeError):
        await device.publish(payload, topic, **members)


async def test_a_device_cannot_publish_as_another(shipped: ShippedMosquitto, database: Database, pool: Pool) -> None:
    async with bridge_of(shipped, database):
        async with shipped.device("d1") as d1:
            await attempt(d1, event("d2"), "devices/d2/events")
        async with shipped.device("d1") as d1, shipped.device("d2") as d2:
            assert (await send(d1, event("d1", subject="d2")))["code"] == "subject_mismatch"
            assert (await send(d2, event("d2")))["status"] == "accepted"
    assert await stored(pool) == [("d2", "/devices/d2", "1")]
    assert await codes(pool) == ["subject_mismatch"]


async def test_a_device_cannot_take_or_probe_the_ids_of_another(
    shipped: ShippedMosquitto, database: Database, pool: Pool
) -> None:
    async with bridge_of(shipped, database), shipped.device("d1") as d1, shipped.device("d2") as d2:
        before = await send(d1, event("d2"))
        assert (await send(d2, event("d2")))["status"] == "accepted"
        after = [await send(d1, event("d2", data=data)) for data in (None, 1)]
        assert (await send(d2, event("d2")))["status"] == "duplicate"
        prefixed = await send(d1, event("d1", source="/devices/d1x"))
        assert (await send(d1, event("d1", source="/devices/d1/part")))["status"] == "accepted"
    assert (before["title"], before["errors"][0]["pointer"]) == ("Not allowed", "/source")
    assert [*after, prefixed] == [before] * 3
    assert await codes(pool) == ["source_mismatch"] * 4
    assert await stored(pool) == [("d2", "/devices/d2", "1"), ("d1", "/devices/d1/part", "1")]


async def test_a_device_cannot_use_the_partition_key_of_another(
    shipped: ShippedMosquitto, database: Database, pool: Pool
) -> None:
    async with bridge_of(shipped, database), shipped.device("d1") as d1:
        for key in ("d2", "d1x"):
            assert (await send(d1, event("d1", partitionkey=key)))["errors"] == [
                {
                    "pointer": "/partitionkey",
                    "code": "partitionkey_mismatch",
                    "detail": "must be the device of the topic, or begin with it and a slash, or be absent",
                }
            ]
        for number, key in enumerate(("d1", "d1/pump")):
            assert (await send(d1, event("d1", number, partitionkey=key)))["status"] == "accepted"
    assert await codes(pool) == ["partitionkey_mismatch"] * 2


async def test_a_device_reads_nothing_of_another_whatever_it_subscribes_to(
    shipped: ShippedMosquitto, database: Database
) -> None:
    async with bridge_of(shipped, database), shipped.device("d1") as d1, shipped.device("d2") as d2:
        for topic in ("#", "$SYS/#", "devices/#", "devices/d2/answers/#", "$share/headrace/#", "$share/x/devices/#"):
            d1.paho.subscribe(topic, 1)
        for number in range(5):
            await d2.publish(event("d2", number), ResponseTopic="devices/d2/answers/odd", retain=number == 4)
            assert (await send(d2, event("d2", number)))["status"] == "duplicate"
        await send(d1, event("d1", 6))
        assert {answer.topic for answer in d1.answers} == {"devices/d1/answers"}
        assert {json.loads(answer.payload)["id"] for answer in d1.answers} == {"6"}


@pytest.mark.parametrize("topic", ["devices/d2/answers", "devices/d1/events", "devices/d1/elsewhere", "replies"])
async def test_an_answer_goes_to_its_own_device_only(
    shipped: ShippedMosquitto, database: Database, pool: Pool, topic: str
) -> None:
    async with bridge_of(shipped, database) as bridge, shipped.device("d1") as d1, shipped.device("d2") as d2:
        for number in range(5):
            await d1.publish(event("d1", number), ResponseTopic=topic)
        assert (await send(d1, event("d1", 6)))["status"] == "accepted"
        assert (await send(d2, event("d2", 7)))["id"] == "7"
        assert bridge.is_connected
        assert len(d2.answers) == 1
    assert len(await stored(pool)) == 7


async def test_a_topic_that_the_broker_refuses_is_answered_once_and_stops_nothing(
    shipped: ShippedMosquitto, folder: Path, database: Database, pool: Pool
) -> None:
    # mosquitto 2.0.11 ends the connection of a client that publishes where it may not.
    shipped.broker.kill()
    acl = (folder / "acl").read_text()
    (folder / "acl").write_text(acl.replace("topic write devices/#", "topic write devices/+/answers"))
    await shipped.broker.start()
    async with bridge_of(shipped, database), shipped.device("d1") as d1, shipped.device("d2") as d2:
        for number in range(5):
            await d1.publish(event("d1", number), ResponseTopic="devices/d1/elsewhere")
        for number in range(5):
            assert (await send(d2, event("d2", number)))["id"] == str(number)
    assert len(await stored(pool)) == 10


async def test_a_device_cannot_join_the_share_of_the_workers(
    shipped: ShippedMosquitto, database: Database, pool: Pool
) -> None:
    async with (
        bridge_of(shipped, database, MQTT_SHARED="on"),
        shipped.device("d1") as d1,
        shipped.device("d2") as d2,
    ):
        d1.paho.subscribe("$share/headrace/devices/+/events", 1)
        await send(d1, event("d1", 0))
        for number in range(1, 20):
            assert (await send(d2, event("d2", number)))["status"] == "accepted"
    assert len(await stored(pool)) == 20


async def test_the_share_of_an_earlier_version_is_given_up(shipped: ShippedMosquitto, database: Database) -> None:
    earlier = await MqttClient.connect(
        shipped.worker(), max_in_flight=100, subscribe_to="$share/headrace/devices/+/events"
    )
    await earlier.close()
    async with bridge_of(shipped, database, MQTT_SHARED="on") as bridge, shipped.device("d1") as d1:
        for number in range(5):
            assert (await send(d1, event("d1", number)))["status"] == "accepted"
        assert (bridge.counts.accepted, bridge.counts.duplicate) == (5, 0)


@pytest.mark.parametrize("clean", [True, False])
async def test_a_device_cannot_take_over_the_session_of_a_worker(
    shipped: ShippedMosquitto, database: Database, pool: Pool, clean: bool
) -> None:
    async with bridge_of(shipped, database):
        pass
    async with shipped.device("d2") as d2:
        await d2.publish(event("d2"))
    # The worker's session has this name on the listener for devices.
    intruder = shipped.device("d1", client_id="headrace")
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 1_000
    intruder.connecting = {"clean_start": clean, "properties": properties}
    async with intruder:
        pass
    async with bridge_of(shipped, database):

        async def there() -> bool:
            return await stored(pool) == [("d2", "/devices/d2", "1")]

        await until(there, SECONDS, "the message that waited for the worker is lost")


async def test_a_will_has_the_rights_of_its_device(shipped: ShippedMosquitto, database: Database, pool: Pool) -> None:
    async with bridge_of(shipped, database), shipped.device("d2") as d2:
        for number, topic in enumerate(("devices/d2/events", "devices/d2/answers", "devices/d1/events")):
            dying = shipped.device("d1")
            dying.paho.will_set(topic, json.dumps(event("d1", number)), 1)
            async with dying:
                dying.paho.socket().close()  # type: ignore[union-attr]  # without DISCONNECT

        async def there() -> bool:
            return len(await stored(pool)) > 0

        await until(there, SECONDS)
        await send(d2, event("d2", 9))
        assert len(d2.answers) == 1
    assert await stored(pool) == [("d1", "/devices/d1", "2"), ("d2", "/devices/d2", "9")]


async def test_a_retained_event_is_stored_once(shipped: ShippedMosquitto, database: Database, pool: Pool) -> None:
    async with shipped.device("d1") as d1:
        await d1.publish(event("d1"), retain=True)
    for number in range(2):
        async with bridge_of(shipped, database) as bridge:

            async def counted(bridge: MqttBridge = bridge, number: int = number) -> bool:
                return (bridge.counts.accepted, bridge.counts.duplicate) == (1 - number, number)

            await until(counted, SECONDS)
    assert await stored(pool) == [("d1", "/devices/d1", "1")]


async def test_a_device_whose_password_is_removed_is_disconnected(
    shipped: ShippedMosquitto, folder: Path, database: Database
) -> None:
    passwords = folder / "passwords"
    async with bridge_of(shipped, database) as bridge, shipped.device("d1") as d1, shipped.device("d2") as d2:
        remaining = [line for line in passwords.read_text().splitlines(keepends=True) if not line.startswith("d1:")]
        passwords.write_text("".join(remaining))
        os.kill(shipped.broker.pid, signal.SIGHUP)

        async def gone() -> bool:
            return not d1.paho.is_connected()

        await until(gone, SECONDS, "still connected")
        assert (await send(d2, event("d2")))["status"] == "accepted"
        assert bridge.is_connected
