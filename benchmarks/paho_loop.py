"""The baseline of devices over MQTT: paho's own loop, which receives and acknowledges, and does nothing else.

The session, the protocol and what may be unacknowledged are those of our bridge. It writes a line when it is
subscribed, and one when it has received all. Arguments: the broker's port, and how many messages come.
"""

from __future__ import annotations

import sys
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agents.mqtt.bridge import TOPICS
from app.settings import Settings

SUBSCRIBED, RECEIVED = "subscribed\n", "received all\n"


def main(port: int, messages: int) -> None:
    """Run until all have come."""
    left = messages

    def received(paho: Client, _: Any, __: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            say(RECEIVED)
            paho.disconnect()

    paho = Client(CallbackAPIVersion.VERSION2, "baseline", protocol=MQTTProtocolVersion.MQTTv5)
    paho.on_message = received
    paho.on_connect = lambda client, *_: client.subscribe(f"$share/headrace/{TOPICS}", 1)
    paho.on_subscribe = lambda *_: say(SUBSCRIBED)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = Settings().mqtt_max_in_flight
    properties.SessionExpiryInterval = 600
    paho.connect("127.0.0.1", port, clean_start=True, properties=properties)
    paho.loop_forever()


def say(line: str) -> None:
    """At once, also into a file."""
    sys.stdout.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
