"""mosquitto with the configuration that is shipped (paths and ports replaced): what it keeps, and for whom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.mqtt.client import MqttAwayError, MqttClient
from headrace.events.mqtt_message import Message

from tests.support.clients.device_client import DeviceClient
from tests.support.servers.fresh import server_folder
from tests.support.servers.shipped_mosquitto import ShippedMosquitto
from tests.support.waiting import until

SECONDS = 30.0
MESSAGES = 200


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


async def connect(shipped: ShippedMosquitto) -> MqttClient:
    return await MqttClient.connect(shipped.worker(), max_in_flight=1_000, subscribe_to="devices/+/events")


async def received(client: MqttClient, count: int) -> list[Message]:
    """So many messages, acknowledged."""
    found: list[Message] = []

    async def are_there() -> bool:
        messages = await client.receive(1_000)
        client.acknowledge(messages)
        found.extend(one.message for one in messages)
        return len(found) >= count

    await until(are_there, SECONDS, f"not {count} messages")
    return found


async def test_what_is_written_outlives_kill_9_for_a_worker_that_is_away(shipped: ShippedMosquitto) -> None:
    await (await connect(shipped)).close()
    async with shipped.device("d1") as device:
        for number in range(MESSAGES - 1):
            device.send(f"event {number:04}")
        await device.publish(f"event {MESSAGES - 1:04}")
    # It is written right after the turn of mosquitto's loop that acknowledged it.
    await until(lambda: shipped.broker.has_written(f"event {MESSAGES - 1:04}".encode()), SECONDS)
    shipped.broker.kill()
    await shipped.broker.start()
    client = await connect(shipped)
    messages = await received(client, MESSAGES)
    await client.close()
    assert [one.payload.decode() for one in messages] == [f"event {number:04}" for number in range(MESSAGES)]


async def _try(device: DeviceClient, topic: str) -> None:
    """Publish what is not allowed. paho 2.2 cannot read the PUBACK that says so, and connects anew."""
    with suppress(RuntimeError):
        await device.publish("not allowed", topic)


async def test_a_device_publishes_to_its_own_topic_only(shipped: ShippedMosquitto) -> None:
    client = await connect(shipped)
    for topic in ("devices/d2/events", "devices/d2/answers", "devices/d1/answers", "other"):
        async with shipped.device("d1") as d1:
            await _try(d1, topic)
    async with shipped.device("d1") as d1, shipped.device("d2") as d2:
        await d1.publish("its own")
        await d2.publish("the last")
    messages = await received(client, 2)
    await client.close()
    assert [(one.topic, one.payload) for one in messages] == [
        ("devices/d1/events", b"its own"),
        ("devices/d2/events", b"the last"),
    ]


@pytest.mark.parametrize("user", ["+", "d1/x"])
async def test_a_user_name_that_looks_like_a_topic_opens_nothing(shipped: ShippedMosquitto, user: str) -> None:
    client = await connect(shipped)
    own = [] if user == "+" else [f"devices/{user}/events"]
    for topic in ("devices/d1/events", "devices/odd/events", "devices/x/events", *own):
        async with shipped.device(user, "odd") as odd:
            await _try(odd, topic)
    async with shipped.device("d1") as d1:
        await d1.publish("the last")
    messages = await received(client, 1)
    await client.close()
    assert [one.payload for one in messages] == [b"the last"]


async def test_a_client_id_that_looks_like_a_topic_opens_nothing(shipped: ShippedMosquitto) -> None:
    client = await connect(shipped)
    for outside in (True, False):
        async with shipped.device("d1", client_id="#", outside=outside) as odd:
            await _try(odd, "devices/d2/events")
    async with shipped.device("d2") as d2:
        await d2.publish("the last")
    messages = await received(client, 1)
    await client.close()
    assert [one.payload for one in messages] == [b"the last"]


@pytest.mark.parametrize("user", [None, "headrace", "#"])
async def test_nobody_comes_in_without_the_password_and_nobody_is_called_hash(
    shipped: ShippedMosquitto, user: str | None
) -> None:
    # In the file of passwords a line that begins with # is a comment.
    password = "secret of #" if user == "#" else None
    address = replace(shipped.worker(), user=user, password=password)
    with pytest.raises(MqttAwayError, match="refused the connection: Not authorized"):
        await MqttClient.connect(address, max_in_flight=10, subscribe_to="devices/+/events")
