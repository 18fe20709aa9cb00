"""paho's protocol on our transport, with a parser of PUBLISH packets that is three times as fast as paho's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from agents.mqtt.publish_packet import UnreadableError, qos_of, read_publish
from agents.mqtt.socket import MqttSocket
from headrace.events.mqtt_message import Message

QOS = 1


class IncomingMessage(NamedTuple):
    """A message, with the packet identifier and QoS that its acknowledgement needs."""

    message: Message
    mid: int
    qos: int


class PahoClient(Client):
    """paho's client on an MqttSocket, returned by `_create_socket`, the hook that paho also uses for WebSockets.

    Messages that `read_publish` can parse go to `received`, the rest to `on_message`: paho's own parser needs three
    times as long.
    """

    def __init__(
        self,
        connection: MqttSocket,
        client_id: str,
        received: Callable[[IncomingMessage], None],
        *,
        version_5: bool,
    ) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if version_5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if version_5 else MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        self._connection = connection
        self._on_received = received
        self._version_5 = version_5

    def _handle_publish(self) -> MQTTErrorCode:
        qos = qos_of(self._in_packet["command"])
        try:
            if qos > QOS:
                return super()._handle_publish()
            message, mid = read_publish(bytes(self._in_packet["packet"]), qos, version_5=self._version_5)
        except UnreadableError:
            return super()._handle_publish()
        self._on_received(IncomingMessage(message, mid, qos))
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _create_socket(self) -> Any:
        return self._connection
