"""A connection to an MQTT broker: paho's protocol on an asyncio transport, in the event loop, without a thread."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, TypeVar

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agents.mqtt.paho_client import QOS, IncomingMessage, PahoClient
from agents.mqtt.socket import MqttSocket
from headrace.errors import DependencyAwayError, InvalidSettingError
from headrace.events.mqtt_message import Message
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.mqtt_address import MqttAddress
from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import WakeUp

CONNECT_SECONDS = 10.0
# Long, because a broker that writes its whole backlog after each acknowledgement reads slowly. TCP keepalives detect
# a dead connection (agents/mqtt/socket.py).
KEEPALIVE_SECONDS = 300
TICK_SECONDS = 1.0
# The session, and the messages that the broker queues for it, survive any time without a worker.
NEVER_EXPIRES = 0xFFFF_FFFF
FIRST_FAILURE_CODE = 0x80
# When unacknowledged messages in memory reach this size, reading pauses.
MAX_HELD_BYTES = 64_000_000
# So many topics that the broker refused are remembered, the latest.
MAX_REFUSED_TOPICS = 1_000
# Estimated memory of a message in addition to its payload and topic.
MESSAGE_OVERHEAD_BYTES = 1_000


Answer = TypeVar("Answer")

log = ActionLog(__name__)
throttled = ThrottledLog(log)


class MqttAwayError(DependencyAwayError):
    """The MQTT broker is unavailable."""


class MqttClient:
    """Receives the messages of a persistent session; only `acknowledge` acknowledges them."""

    def __init__(
        self,
        socket: MqttSocket,
        address: MqttAddress,
        *,
        max_in_flight: int,
        refused_topics: dict[str, None] | None = None,
    ) -> None:
        self._socket = socket
        self._address = address
        self._max_in_flight = max_in_flight
        self._received: list[IncomingMessage] = []
        self._held_bytes = 0
        self._wake_up = WakeUp()
        self._connected: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._subscribed: asyncio.Future[Sequence[ReasonCode]] = asyncio.get_running_loop().create_future()
        self._session_present = False
        self._tick: asyncio.TimerHandle | None = None
        self._refused_topics = {} if refused_topics is None else refused_topics
        self._answers: dict[int, str] = {}
        self._paho = PahoClient(socket, address.client_id, self._receive, version_5=address.version_5)
        self._paho.max_queued_messages_set(max_in_flight)
        self._paho.on_connect = self._on_connect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_message = self._on_message
        self._paho.on_publish = self._on_publish
        self._paho.on_disconnect = self._on_disconnect
        if address.user is not None:
            self._paho.username_pw_set(address.user, address.password)

    @classmethod
    async def connect(
        cls,
        address: MqttAddress,
        *,
        max_in_flight: int,
        subscribe_to: str,
        unsubscribe_from: Sequence[str] = (),
        refused_topics: dict[str, None] | None = None,
    ) -> MqttClient:
        """Connect, subscribe, and remove the subscriptions `unsubscribe_from`, which an earlier session may have left.

        The topics that the broker does not let us publish to are kept in `refused_topics`, for later connections.

        Raises MqttAwayError, with the broker's reason if it gave any, or OSError.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                tls = await asyncio.to_thread(address.tls_context) if address.tls else None
                _, socket = await loop.create_connection(
                    MqttSocket, address.host, address.port, ssl=tls, server_hostname=address.host if tls else None
                )
                client = cls(socket, address, max_in_flight=max_in_flight, refused_topics=refused_topics)
                try:
                    await client._open(subscribe_to, unsubscribe_from)
                except BaseException:
                    socket.abort()
                    raise
        except TimeoutError:
            raise MqttAwayError(f"{address} did not answer within {CONNECT_SECONDS:.0f} s.") from None
        except ssl.SSLError as error:
            raise MqttAwayError(f"{address}: {_tls_words(error)}.") from error
        except InvalidSettingError as error:  # certificate files may change while the worker runs
            raise MqttAwayError(str(error)) from error
        return client

    async def _open(self, subscribe_to: str, unsubscribe_from: Sequence[str]) -> None:
        self._socket.readable = self._readable
        self._socket.lost.add_done_callback(lambda _: self.wake())
        self._start_session()
        reason = await self._wait_unless_lost(self._connected)
        if reason.is_failure:
            raise MqttAwayError(f"{self._address} refused the connection: {reason}.")
        # In this order, because the broker drops what arrives between the two without a subscription.
        self._paho.subscribe(subscribe_to, QOS)
        if unsubscribe_from:
            self._paho.unsubscribe(list(unsubscribe_from))
        # A session's queued messages arrive first, and amqtt confirms the subscription only once they are acknowledged.
        if not self._session_present:
            refused = await self._wait_unless_lost(self._subscribed)
            if refused:
                raise MqttAwayError(f"{self._address} refused the subscription: {refused[0]}.")
        self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._keep_alive)

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
        """Whether the connection has ended; messages that were received before can still be read."""
        return self._socket.lost.done()

    def wake(self) -> None:
        """Make a waiting `receive` return."""
        self._wake_up.set()

    async def receive(self, at_most: int) -> list[IncomingMessage]:
        """The next messages in order of arrival, at most `at_most`; empty if none arrived within TICK_SECONDS."""
        if not self._received and not self.is_lost:
            await self._wake_up.wait(TICK_SECONDS)
        taken, self._received = self._received[:at_most], self._received[at_most:]
        return taken

    def acknowledge(self, messages: Sequence[IncomingMessage]) -> None:
        """Acknowledge messages in this order, which must be their order of arrival."""
        for _, mid, qos in messages:
            if qos and not self.is_lost:
                self._paho.ack(mid, qos)
        self._held_bytes -= sum(_size_bytes(received.message) for received in messages)
        if self._held_bytes < MAX_HELD_BYTES:
            self._socket.resume()

    def respond(self, topic: str, payload: bytes, content_type: str, correlation_data: bytes | None) -> bool:
        """Publish to a response topic; return False if too many responses are queued for the broker.

        Nothing is published to a topic that the broker refused: mosquitto 2.0.11 then ends the connection, and would
        do so each time that it redelivers the message.
        """
        if topic in self._refused_topics:
            return True
        properties = _properties(PacketTypes.PUBLISH)
        properties.ContentType = content_type
        if correlation_data is not None:
            properties.CorrelationData = correlation_data
        sent = self._paho.publish(topic, payload, QOS, properties=properties)
        if sent.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return False
        self._answers[sent.mid] = topic
        return True

    async def close(self) -> None:
        """Disconnect; the broker keeps the session."""
        if self._tick is not None:
            self._tick.cancel()
        if not self.is_lost:
            self._paho.disconnect()
            self._socket.close()
            await asyncio.wait((self._socket.lost,), timeout=TICK_SECONDS)
            self._socket.abort()

    async def _wait_unless_lost(self, answer: asyncio.Future[Answer]) -> Answer:
        await asyncio.wait((answer, self._socket.lost), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            fault = self._socket.fault
            if isinstance(fault, ssl.SSLError):  # a broker refuses a certificate only after the handshake
                words = f"{_tls_words(fault)}; correct MQTT_CERTIFICATE_FILE and MQTT_KEY_FILE"
                raise MqttAwayError(f"{self._address} refused the certificate of this worker: {words}.")
            raise MqttAwayError(f"{self._address} closed the connection.")
        return answer.result()

    def _readable(self) -> None:
        while self._socket.has_more:
            if self._paho.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._socket.abort()
                return
        if self._held_bytes >= MAX_HELD_BYTES:
            self._socket.pause()

    def _keep_alive(self) -> None:
        """Send pings as needed, and drop the connection if the broker is silent; runs every TICK_SECONDS."""
        if self.is_lost:
            return
        if self._paho.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._socket.abort()
        self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._keep_alive)

    # Called by paho.

    def _on_connect(self, _: Client, __: Any, flags: ConnectFlags, reason: ReasonCode, ___: Properties | None) -> None:
        self._session_present = flags.session_present
        if not self._connected.done():
            self._connected.set_result(reason)

    def _on_subscribe(self, _: Client, __: Any, ___: int, reasons: list[ReasonCode], ____: Properties | None) -> None:
        refused = [reason for reason in reasons if reason.value >= FIRST_FAILURE_CODE]
        self._subscribed.set_result(refused)
        if refused and self._session_present:
            throttled.warning(
                LogAction.MQTT_REFUSED,
                "The MQTT broker at {broker} refuses the subscription: {reason}",
                broker=self._address.broker,
                reason=refused[0],
            )
            self._socket.abort()

    def _on_disconnect(
        self, _: Client, __: Any, flags: DisconnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            throttled.warning(
                LogAction.MQTT_DISCONNECTED,
                "The MQTT broker at {broker} ended the connection: {reason}",
                broker=self._address.broker,
                reason=reason,
            )

    def _on_publish(self, _: Client, __: Any, mid: int, reason: ReasonCode, ___: Properties | None) -> None:
        topic = self._answers.pop(mid, None)
        if not reason.is_failure or topic is None:
            return
        self._refused_topics[topic] = None
        if len(self._refused_topics) > MAX_REFUSED_TOPICS:
            del self._refused_topics[next(iter(self._refused_topics))]
        throttled.warning(
            LogAction.MQTT_ANSWERS_DROPPED,
            "The MQTT broker at {broker} does not let the worker answer a device; allow it to publish to devices/#: "
            "{reason}",
            broker=self._address.broker,
            reason=reason,
        )

    def _on_message(self, _: Client, __: Any, received: MQTTMessage) -> None:
        self._receive(IncomingMessage(_message(received), received.mid, received.qos))

    def _receive(self, received: IncomingMessage) -> None:
        self._held_bytes += _size_bytes(received.message)
        self._received.append(received)
        self.wake()


def _size_bytes(message: Message) -> int:
    return len(message.payload) + len(message.topic) + MESSAGE_OVERHEAD_BYTES


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho's only untyped class


def _message(received: MQTTMessage) -> Message:
    properties = vars(received.properties) if received.properties is not None else {}
    return Message(
        topic=received.topic,
        payload=bytes(received.payload),
        content_type=properties.get("ContentType"),
        user_properties=properties.get("UserProperty", []),
        response_topic=properties.get("ResponseTopic"),
        correlation_data=properties.get("CorrelationData"),
    )


def _tls_words(error: ssl.SSLError) -> str:
    """What is wrong with TLS, and what to correct."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"{error.reason}: {error.verify_message.rstrip('.')}"
        return f"its certificate is not accepted ({reason}); correct MQTT_CA_FILE or the host in MQTT_URL"
    return error.reason or str(error)
