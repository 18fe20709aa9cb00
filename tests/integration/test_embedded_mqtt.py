"""The embedded broker: mosquitto where it is installed, else amqtt; shared, kept over kill -9, ended with the last."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from agents.mqtt.client import MqttClient
from app.embedded.mqtt import amqtt_broker
from app.embedded.mqtt import broker as mqtt
from app.embedded.processes import is_alive
from app.embedded.servers import EmbeddedServers
from headrace.errors import StartError
from headrace.process.mqtt_address import MqttAddress

from benchmarks import mqtt_packets as packets
from tests.support.clients.device_client import DeviceClient
from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.mosquitto import mosquitto_program
from tests.support.waiting import until

SECONDS = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "mosquitto":
        mosquitto_program()
    else:
        monkeypatch.setattr(mqtt, "mosquitto", lambda: None)
    return str(request.param)


@pytest.fixture
async def servers(folder: Path) -> AsyncIterator[EmbeddedServers]:
    handle = EmbeddedServers(folder, mqtt_port=free_port())
    yield handle
    await handle.stop()


def running(folder: Path) -> psutil.Process:
    process = mqtt.server(folder / "mqtt")
    assert process is not None
    return process


async def connect(url: str, broker: str) -> MqttClient:
    address = MqttAddress(
        host="127.0.0.1",
        port=int(url.rpartition(":")[2]),
        client_id="w1",
        user="headrace",
        version_5=broker == "mosquitto",
    )
    return await MqttClient.connect(address, max_in_flight=100, subscribe_to="devices/+/events")


async def payloads(client: MqttClient, count: int) -> list[bytes]:
    found: list[bytes] = []

    async def are_there() -> bool:
        messages = await client.receive(100)
        client.acknowledge(messages)
        found.extend(one.message.payload for one in messages)
        return len(found) >= count

    await until(are_there, SECONDS)
    return found


async def test_it_keeps_messages_while_no_worker_is_connected(broker: str, servers: EmbeddedServers) -> None:
    url = await servers.start_mqtt()
    await (await connect(url, broker)).close()
    async with DeviceClient(url, "dev-1", version_5=False) as device:
        for number in range(20):
            await device.publish(str(number))
    client = await connect(url, broker)
    assert await payloads(client, 20) == [str(number).encode() for number in range(20)]
    await client.close()


async def test_it_listens_on_loopback_and_ends_with_the_last_of_those_who_share_it(
    broker: str, servers: EmbeddedServers, folder: Path
) -> None:
    url = await servers.start_mqtt()
    other = EmbeddedServers(folder, mqtt_port=int(url.rpartition(":")[2]))
    assert await other.start_mqtt() == url
    process = running(folder)
    assert {one.laddr.ip for one in process.net_connections() if one.status == "LISTEN"} == {"127.0.0.1"}
    await servers.stop()
    assert process.is_running()
    await other.stop()
    assert not is_alive(process)


async def test_amqtt_is_found_by_a_worker_whose_python_has_another_name(
    servers: EmbeddedServers, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "mosquitto", lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(Path(sys.executable).with_name("python3")))
        url = await servers.start_mqtt()
    process = running(folder)
    other = EmbeddedServers(folder, mqtt_port=int(url.rpartition(":")[2]))
    assert await other.start_mqtt() == url
    assert running(folder) == process
    await servers.stop()
    await other.stop()
    assert not is_alive(process)


async def test_mosquitto_has_after_kill_9_what_it_has_written(servers: EmbeddedServers, folder: Path) -> None:
    mosquitto_program()
    url = await servers.start_mqtt()
    await (await connect(url, "mosquitto")).close()
    async with DeviceClient(url, "dev-1") as device:
        await device.publish("kept over kill -9")

    async def is_written() -> bool:
        return b"kept over kill -9" in (folder / "mqtt" / "data" / "mosquitto.db").read_bytes()

    await until(is_written, SECONDS)
    killed = running(folder)
    killed.kill()

    async def is_gone() -> bool:
        return not is_alive(killed)

    await until(is_gone, SECONDS)
    client = await connect(await servers.start_mqtt(), "mosquitto")
    assert await payloads(client, 1) == [b"kept over kill -9"]
    await client.close()


async def test_a_port_that_is_taken_is_told_in_one_line(servers: EmbeddedServers, folder: Path) -> None:
    url = await servers.start_mqtt()
    other = EmbeddedServers(folder / "other", mqtt_port=int(url.rpartition(":")[2]))
    try:
        with pytest.raises(StartError, match=r"^port \d+ on 127.0.0.1 is in use .*EMBEDDED_MQTT_PORT.*MQTT_URL.* off$"):
            await other.start_mqtt()
    finally:
        await other.stop()


async def dropped(port: int, sent: bytes) -> bool:
    """Whether the broker closes a connection on which this was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        async with asyncio.timeout(SECONDS):
            while await reader.read(1000):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    finally:
        writer.transport.abort()
    return True


async def test_a_packet_that_is_too_large_costs_its_sender_the_connection(
    broker: str, servers: EmbeddedServers
) -> None:
    url = await servers.start_mqtt()
    port = int(url.rpartition(":")[2])
    client = await connect(url, broker)
    first = packets.connect("d1")
    claimed = b"\x32\xff\xff\xff\x7f"  # PUBLISH of 256 MB
    assert await dropped(port, first + claimed)
    assert await dropped(port, first + packets.publish("devices/d1/events", b"x" * (mqtt.MAX_PACKET_BYTES + 1), 1))
    assert await dropped(port, b"\x10\xff\xff\xff\x7f")
    assert await dropped(port, b"\x10\xff\xff\xff\xff\xff")
    fitting = b"x" * (mqtt.MAX_PACKET_BYTES - 100)
    async with DeviceClient(url, "dev-1", version_5=False) as device:
        await device.publish(fitting.decode())
    assert await payloads(client, 1) == [fitting]
    await client.close()


async def test_amqtt_ends_a_connection_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqtt_broker, "CONNECT_SECONDS", 0.01)
    quiet = asyncio.StreamReader()
    assert await amqtt_broker.PacketReader(quiet, 1_000).read(1) == b""
    monkeypatch.setattr(amqtt_broker, "PACKET_SECONDS", 0.01)
    slow = asyncio.StreamReader()
    slow.feed_data(b"\x10\x05ab")
    assert await amqtt_broker.PacketReader(slow, 1_000).read(1) == b""
    whole = asyncio.StreamReader()
    whole.feed_data(b"\x10\x03abc\xc0\x00")
    reader = amqtt_broker.PacketReader(whole, 1_000)
    assert [await reader.read(n) for n in (1, 1, 2, 5, 1, 1)] == [b"\x10", b"\x03", b"ab", b"c", b"\xc0", b"\x00"]


def test_a_packet_at_the_broker_may_be_twice_as_large_as_an_event() -> None:
    assert mqtt.packet_bytes_for(1_000_000) == mqtt.MAX_PACKET_BYTES
    assert mqtt.packet_bytes_for(3_000_000) == 6_000_000
