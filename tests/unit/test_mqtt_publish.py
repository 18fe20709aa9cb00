"""PUBLISH as we read it, beside what paho packs."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agents.mqtt.client import MqttClient
from agents.mqtt.publish_packet import UnreadableError, read_publish
from agents.mqtt.socket import MqttSocket
from headrace.events.mqtt_message import Message
from headrace.process.mqtt_address import MqttAddress

# paho packs what a broker would not let through; a text of MQTT has no NUL and no surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
members = st.fixed_dictionaries(
    {},
    optional={
        "ContentType": texts,
        "ResponseTopic": st.just("devices/d1/answers"),
        "CorrelationData": st.binary(max_size=300),
        "UserProperty": st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
        "MessageExpiryInterval": st.integers(0, 2**32 - 1),
        "PayloadFormatIndicator": st.integers(0, 1),
        "TopicAlias": st.integers(1, 65_535),
        "SubscriptionIdentifier": st.integers(1, 268_435_455),
    },
)


def packed(topic: str, payload: bytes, mid: int | None, given: dict[str, Any] | None) -> bytes:
    """As it comes from a broker, without the fixed header."""
    encoded = topic.encode()
    packet = struct.pack("!H", len(encoded)) + encoded + (b"" if mid is None else struct.pack("!H", mid))
    if given is not None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in given.items():
            setattr(properties, name, value)
        packet += properties.pack()  # type: ignore[no-untyped-call]
    return packet + payload


@given(texts, st.binary(max_size=300), st.none() | st.integers(1, 65_535), st.none() | members)
def test_it_says_what_was_packed(topic: str, payload: bytes, mid: int | None, given: dict[str, Any] | None) -> None:
    packet = packed(topic, payload, mid, given)
    told = given or {}
    assert read_publish(packet, 0 if mid is None else 1, version_5=given is not None) == (
        Message(
            topic=topic,
            payload=payload,
            content_type=told.get("ContentType"),
            user_properties=told.get("UserProperty", []),
            response_topic=told.get("ResponseTopic"),
            correlation_data=told.get("CorrelationData"),
        ),
        mid or 0,
    )


@given(members, st.integers(0, 2_000))
def test_what_is_cut_off_before_its_payload_is_unreadable(given: dict[str, Any], length: int) -> None:
    packet = packed("devices/d1/events", b"", 7, given)
    if length < len(packet):
        with pytest.raises(UnreadableError):
            read_publish(packet[:length], 1, version_5=True)


@given(st.binary(max_size=60), st.booleans())
def test_no_bytes_are_too_strange(noise: bytes, version_5: bool) -> None:
    try:
        read_publish(noise, 1, version_5=version_5)
    except UnreadableError:
        return


CONNACK = bytes.fromhex("2003000000")
PUBLISH = b"\x32\x18" + packed("devices/d1/events", b"hi", 7, {})
UNKNOWN_PROPERTY = b"\x32\x18\x00\x11devices/d1/events\x00\x07\x02\x7f\x00"


def opened() -> tuple[MqttSocket, MqttClient]:
    """A client that has sent its CONNECT to nobody."""
    socket = MqttSocket()
    client = MqttClient(socket, MqttAddress(host="h", port=1, client_id="w"), max_in_flight=10)
    client._start_session()
    socket.readable = client._readable
    socket.data_received(CONNACK)
    return socket, client


async def test_packets_come_in_any_pieces() -> None:
    socket, client = opened()
    stream = PUBLISH * 3
    for start in range(0, len(stream), 5):
        socket.data_received(stream[start : start + 5])
    received = await client.receive(10)
    assert [(one.message.payload, one.mid, one.qos) for one in received] == [(b"hi", 7, 1)] * 3


async def test_what_paho_cannot_read_either_ends_the_connection() -> None:
    socket, client = opened()
    transport = _Transport()
    socket._transport = transport
    socket.data_received(PUBLISH + UNKNOWN_PROPERTY)
    assert transport.is_ended
    assert [one.message.payload for one in await client.receive(10)] == [b"hi"]


class _Transport(asyncio.Transport):
    is_ended = False

    def close(self) -> None:
        self.is_ended = True

    def abort(self) -> None:
        self.is_ended = True

    def write(self, data: object) -> None:
        """To nobody."""
