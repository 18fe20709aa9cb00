"""One connection to an MQTT broker: paho's protocol on asyncio's transport, in the event loop and without a thread."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agents.mqtt.publish_packet import UnreadableError, qos_of, read_publish
from agents.mqtt.socket import MqttSocket
from headrace.errors import DependencyAwayError, InvalidSettingError
from headrace.events.mqtt_message import Message
from headrace.process.mqtt_address import MqttAddress
from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import WakeUp

CONNECT_SECONDS = 10.0
# Long, because a broker that writes its whole backlog after each acknowledgement reads slowly. A connection that
# is dead is noticed by TCP (agents/mqtt/socket.py).
KEEPALIVE_SECONDS = 300
TICK_SECONDS = 1.0
# The session, and what the broker keeps for it, outlives any time without a worker.
NEVER_EXPIRES = 0xFFFF_FFFF
QOS = 1
FAILURES = 0x80
# What is held in memory and not acknowledged; then nothing more is received for a while.
MOST_HELD_BYTES = 64_000_000
# Of a message, besides its payload.
MESSAGE_BYTES = 1_000


Answer = TypeVar("Answer")

log = logging.getLogger(__name__)
throttled = ThrottledLog(log)


class MqttAwayError(DependencyAwayError):
    """The MQTT broker does not answer."""


class IncomingMessage(NamedTuple):
    """A message, and what its acknowledgement needs."""

    message: Message
    mid: int
    qos: int


class _Paho(Client):
    """paho's client with our socket; `_create_socket` is where it makes its own for WebSockets, too.

    Messages that we can read ourselves go to `received`, others, or none, to `on_message`: for those that come often
    paho takes three times as long.
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
        self._taken = received
        self._version_5 = version_5

    def _handle_publish(self) -> MQTTErrorCode:
        qos = qos_of(self._in_packet["command"])
        try:
            if qos > QOS:
                return super()._handle_publish()
            message, mid = read_publish(bytes(self._in_packet["packet"]), qos, version_5=self._version_5)
        except UnreadableError:
            return super()._handle_publish()
        self._taken(IncomingMessage(message, mid, qos))
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _create_socket(self) -> Any:
        return self._connection


class MqttClient:
    """Receives the messages of a persistent session; nothing is acknowledged but by `acknowledge`."""

    def __init__(self, socket: MqttSocket, address: MqttAddress, *, max_in_flight: int) -> None:
        self._socket = socket
        self._address = address
        self._max_in_flight = max_in_flight
        self._received: list[IncomingMessage] = []
        self._held_bytes = 0
        self._wake_up = WakeUp()
        self._connected: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._subscribed: asyncio.Future[Sequence[ReasonCode]] = asyncio.get_running_loop().create_future()
        self._session_was_there = False
        self._tick: asyncio.TimerHandle | None = None
        self._paho = _Paho(socket, address.client_id, self._take, version_5=address.version_5)
        self._paho.max_queued_messages_set(max_in_flight)
        self._paho.on_connect = self._on_connect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_message = self._on_message
        self._paho.on_disconnect = self._on_disconnect
        if address.user is not None:
            self._paho.username_pw_set(address.user, address.password)

    @classmethod
    async def connect(
        cls, address: MqttAddress, *, max_in_flight: int, subscribe_to: str, not_to: str = ""
    ) -> MqttClient:
        """Connect and subscribe, and give up the subscription `not_to`, which the session may have from before.

        Raises MqttAwayError, with the broker's reason where it gave one, or OSError.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                tls = await asyncio.to_thread(address.tls_context) if address.tls else None
                _, socket = await loop.create_connection(
                    MqttSocket, address.host, address.port, ssl=tls, server_hostname=address.host if tls else None
                )
                client = cls(socket, address, max_in_flight=max_in_flight)
                try:
                    await client._open(subscribe_to, not_to)
                except BaseException:
                    socket.abort()
                    raise
        except TimeoutError:
            raise MqttAwayError(f"{address} has not answered for {CONNECT_SECONDS:.0f} s.") from None
        except ssl.SSLError as error:
            raise MqttAwayError(f"{address}: {error.reason or error}.") from error
        except InvalidSettingError as error:  # files change while we run
            raise MqttAwayError(str(error)) from error
        return client

    async def _open(self, subscribe_to: str, not_to: str) -> None:
        self._socket.readable = self._readable
        self._socket.lost.add_done_callback(lambda _: self.wake())
        self._start_session()
        reason = await self._unless_lost(self._connected)
        if reason.is_failure:
            raise MqttAwayError(f"{self._address} refuses the connection: {reason}.")
        if not_to:
            self._paho.unsubscribe(not_to)
        self._paho.subscribe(subscribe_to, QOS)
        # What a session has kept comes at once, and amqtt answers only when that is acknowledged.
        if not self._session_was_there:
            refused = await self._unless_lost(self._subscribed)
            if refused:
                raise MqttAwayError(f"{self._address} refuses the subscription to {subscribe_to}: {refused[0]}.")
        self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._look)

    def _start_session(self) -> None:
        address = self._address
        if not address.version_5:
            self._paho.connect(address.host, address.port, KEEPALIVE_SECONDS)
            return
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = NEVER_EXPIRES
        properties.ReceiveMaximum = self._max_in_flight
        self._paho.connect(address.host, address.port, KEEPALIVE_SECONDS, clean_start=False, properties=properties)

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended; what was received before still counts."""
        return self._socket.lost.done()

    def wake(self) -> None:
        """Let `receive` return."""
        self._wake_up.set()

    async def receive(self, at_most: int) -> list[IncomingMessage]:
        """The next messages, in the order in which they came; none when nothing came for a while."""
        if not self._received and not self.is_lost:
            await self._wake_up.wait(TICK_SECONDS)
        taken, self._received = self._received[:at_most], self._received[at_most:]
        return taken

    def done(self, messages: Sequence[IncomingMessage]) -> None:
        """Acknowledge them, in this order, which must be the one in which they came."""
        for _, mid, qos in messages:
            if qos and not self.is_lost:
                self._paho.ack(mid, qos)
        self._held_bytes -= sum(_size_bytes(received.message) for received in messages)
        if self._held_bytes < MOST_HELD_BYTES:
            self._socket.resume()

    def answer(self, topic: str, payload: bytes, content_type: str, correlation_data: bytes | None) -> bool:
        """Publish to a response topic; False when too many answers wait for the broker."""
        properties = _properties(PacketTypes.PUBLISH)
        properties.ContentType = content_type
        if correlation_data is not None:
            properties.CorrelationData = correlation_data
        sent = self._paho.publish(topic, payload, QOS, properties=properties)
        return sent.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE

    async def close(self) -> None:
        """End the connection; the session stays at the broker."""
        if self._tick is not None:
            self._tick.cancel()
        if not self.is_lost:
            self._paho.disconnect()
            self._socket.close()
            await asyncio.wait((self._socket.lost,), timeout=TICK_SECONDS)
            self._socket.abort()

    async def _unless_lost(self, answer: asyncio.Future[Answer]) -> Answer:
        await asyncio.wait((answer, self._socket.lost), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise MqttAwayError(f"{self._address} closed the connection.")
        return answer.result()

    def _readable(self) -> None:
        while self._socket.has_more:
            if self._paho.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._socket.abort()
                return
        if self._held_bytes >= MOST_HELD_BYTES:
            self._socket.pause()

    def _look(self) -> None:
        """Keep the connection alive, and notice when the broker is silent."""
        if self.is_lost:
            return
        if self._paho.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._socket.abort()
        self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._look)

    # What paho calls.

    def _on_connect(self, _: Client, __: Any, flags: ConnectFlags, reason: ReasonCode, ___: Properties | None) -> None:
        self._session_was_there = flags.session_present
        if not self._connected.done():
            self._connected.set_result(reason)

    def _on_subscribe(self, _: Client, __: Any, ___: int, reasons: list[ReasonCode], ____: Properties | None) -> None:
        refused = [reason for reason in reasons if reason.value >= FAILURES]
        self._subscribed.set_result(refused)
        if refused and self._session_was_there:
            throttled.warning("%s refuses the subscription: %s.", self._address, refused[0])
            self._socket.abort()

    def _on_disconnect(
        self, _: Client, __: Any, flags: DisconnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            throttled.warning("%s ended the connection: %s.", self._address, reason)

    def _on_message(self, _: Client, __: Any, received: MQTTMessage) -> None:
        self._take(IncomingMessage(_message(received), received.mid, received.qos))

    def _take(self, received: IncomingMessage) -> None:
        self._held_bytes += _size_bytes(received.message)
        self._received.append(received)
        self.wake()


def _size_bytes(message: Message) -> int:
    return len(message.payload) + len(message.topic) + MESSAGE_BYTES


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho's only class without types


def _message(received: MQTTMessage) -> Message:
    told = vars(received.properties) if received.properties is not None else {}
    return Message(
        topic=received.topic,
        payload=bytes(received.payload),
        content_type=told.get("ContentType"),
        user_properties=told.get("UserProperty", []),
        response_topic=told.get("ResponseTopic"),
        correlation_data=told.get("CorrelationData"),
    )
