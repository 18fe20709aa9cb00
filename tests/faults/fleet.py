"""Twenty devices that publish over MQTT while things break, and what the broker acknowledged to each."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.checking.history import Outcome, Sent, digest
from tests.support.waiting import until

MOST_UNACKNOWLEDGED = 40
WAIT_SECONDS = 240.0
# More than 500 events a second of all twenty: the load lasts as long as the trouble.
PACE_SECONDS = 0.035


class FleetDevice:
    """One device; paho keeps what is not acknowledged and sends it again after a reconnect.

    What is published while paho connects may overtake what it sends again, so nothing new is published until the first
    acknowledgement after a reconnect: then all of that is sent.
    """

    def __init__(self, port: int, name: str, *, version_5: bool) -> None:
        self.sent: list[Sent] = []
        self.acknowledged = 0
        self.most = sys.maxsize
        """How many events it may publish until more are allowed."""
        self._name = name
        protocol = MQTTProtocolVersion.MQTTv5 if version_5 else MQTTProtocolVersion.MQTTv311
        session = None if version_5 else False
        self._paho = Client(CallbackAPIVersion.VERSION2, f"fleet-{name}", clean_session=session, protocol=protocol)
        self._paho.reconnect_delay_set(1, 1)
        self._may_publish = False
        self._is_held = False
        self._paho.on_publish = self._on_publish
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._port = port

    def _on_publish(self, *_: object) -> None:
        self.acknowledged += 1
        self._may_publish = True

    def _on_connect(self, *_: object) -> None:
        self._may_publish = len(self.sent) == self.acknowledged

    def _on_disconnect(self, *_: object) -> None:
        self._may_publish = False

    def hold(self) -> None:
        """Publish nothing until `go_on`."""
        self._is_held = True

    def go_on(self) -> None:
        """Publish again."""
        self._is_held = False

    async def run(self, events: int) -> None:
        """Publish so many; returns when all of them are acknowledged."""
        self._paho.connect_async("127.0.0.1", self._port)
        self._paho.loop_start()
        try:
            for number in range(events):
                await until(self._may_send_more, WAIT_SECONDS)
                self._publish(number)
                await asyncio.sleep(PACE_SECONDS)
            await until(self.all_is_acknowledged, WAIT_SECONDS, f"{self._name}: not all is acknowledged")
        finally:
            self._paho.disconnect()
            await asyncio.to_thread(self._paho.loop_stop)

    async def _may_send_more(self) -> bool:
        sent = len(self.sent)
        may_publish = self._may_publish and not self._is_held and sent < self.most
        return may_publish and sent - self.acknowledged < MOST_UNACKNOWLEDGED

    async def all_is_acknowledged(self) -> bool:
        return len(self.sent) == self.acknowledged

    def _publish(self, number: int) -> None:
        event = _event(self._name, number)
        self._paho.publish(f"devices/{self._name}/events", json.dumps(event), 1)
        name = self._name
        self.sent.append(Sent(name, name, event["source"], event["id"], digest(event), Outcome.ACCEPTED))


def _event(device: str, number: int) -> dict[str, Any]:
    value = random.Random(f"{device} {number}").randrange(-50, 50)
    return {
        "specversion": "1.0",
        "id": f"{number:05}",
        "source": f"/fleet/{device}",
        "type": "reading.recorded",
        "subject": device,
        "time": "2026-03-01T08:00:00Z",
        "data": {"metric": "temperature", "value": value},
    }
