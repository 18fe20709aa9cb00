"""A device for tests: paho in a thread of its own, as devices use it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT_SECONDS = 30.0


def properties(**members: Any) -> Properties:
    """Properties of a PUBLISH of MQTT 5, by their names in paho."""
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for name, value in members.items():
        setattr(made, name, value)
    return made


class DeviceClient:
    """Publishes with QoS 1; `answers` are the messages on its response topic.

    `connecting` has more arguments for paho's `connect`.
    """

    def __init__(self, url: str, device: str, *, version_5: bool = True, client_id: str | None = None) -> None:
        self.device = device
        self.topic = f"devices/{device}/events"
        self.response_topic = f"devices/{device}/answers"
        self.answers: list[MQTTMessage] = []
        self.connecting: dict[str, Any] = {}
        address = urlsplit(url)
        protocol = MQTTProtocolVersion.MQTTv5 if version_5 else MQTTProtocolVersion.MQTTv311
        name = f"device-{device}" if client_id is None else client_id
        self.paho = Client(CallbackAPIVersion.VERSION2, name, protocol=protocol)
        self.paho.on_message = lambda _, __, message: self.answers.append(message)
        if address.username:
            self.paho.username_pw_set(address.username, address.password)
        assert address.hostname is not None
        assert address.port is not None
        self._host, self._port = address.hostname, address.port

    async def __aenter__(self) -> DeviceClient:
        connected = asyncio.Event()
        loop = asyncio.get_running_loop()

        def subscribed(*_: object) -> None:
            loop.call_soon_threadsafe(connected.set)

        self.paho.on_subscribe = subscribed
        self.paho.on_connect = lambda client, *_: client.subscribe(self.response_topic, 1)
        await asyncio.to_thread(self.paho.connect, self._host, self._port, **self.connecting)
        self.paho.loop_start()
        async with asyncio.timeout(WAIT_SECONDS):
            await connected.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.paho.disconnect()
        await asyncio.to_thread(self.paho.loop_stop)

    async def publish(
        self, payload: bytes | str | dict[str, Any], topic: str | None = None, *, retain: bool = False, **members: Any
    ) -> None:
        """Publish, and return when the broker has acknowledged it."""
        await acknowledged(self.send(payload, topic, retain=retain, **members))

    def send(
        self, payload: bytes | str | dict[str, Any], topic: str | None = None, *, retain: bool = False, **members: Any
    ) -> MQTTMessageInfo:
        """Publish; see `acknowledged`."""
        body = json.dumps(payload) if isinstance(payload, dict) else payload
        made = properties(**members) if members else None
        return self.paho.publish(topic or self.topic, body, 1, retain=retain, properties=made)


async def acknowledged(sent: MQTTMessageInfo) -> None:
    """Return when the broker has acknowledged it."""
    await asyncio.to_thread(sent.wait_for_publish, WAIT_SECONDS)
    assert sent.is_published()
