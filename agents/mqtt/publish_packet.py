"""A fast parser for the only frequent packet, PUBLISH of MQTT 3.1.1 and 5, without paho's objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.events.mqtt_message import Message

QOS_SHIFT, QOS_MASK = 1, 0x03
LENGTH_BITS, CONTINUES = 7, 0x80
USER_PROPERTY, SUBSCRIPTION_ID = 0x26, 0x0B
# Properties that an event does not use, and their lengths: payload format, expiry, topic alias.
FIXED_BYTES = {0x01: 1, 0x02: 4, 0x23: 2}


class UnreadableError(Exception):
    """The packet is not a PUBLISH that this module can parse; paho's own parser may accept it."""


def qos_of(first_byte: int) -> int:
    """The quality of service (0 to 3) in the first byte of a PUBLISH."""
    return first_byte >> QOS_SHIFT & QOS_MASK


def read_publish(packet: bytes, qos: int, *, version_5: bool) -> tuple[Message, int]:
    """Parse a PUBLISH without its fixed header; return the message and its packet identifier (0 for QoS 0).

    Raises UnreadableError if the packet is malformed or has an unknown property.
    """
    try:
        topic, offset = _text(packet, 0)
        mid = 0
        if qos:
            mid, offset = packet[offset] << 8 | packet[offset + 1], offset + 2
        if not version_5:
            return Message(topic=topic, payload=packet[offset:]), mid
        length, offset = _number(packet, offset)
        if not length:
            return Message(topic=topic, payload=packet[offset:]), mid
        end = offset + length
        return Message(topic=topic, payload=packet[end:], **_properties(packet, offset, end)), mid
    except (IndexError, UnicodeDecodeError) as error:
        raise UnreadableError from error


def _bytes(packet: bytes, offset: int) -> tuple[bytes, int]:
    start = offset + 2
    end = start + (packet[offset] << 8 | packet[offset + 1])
    if end > len(packet):
        raise UnreadableError
    return packet[start:end], end


def _text(packet: bytes, offset: int) -> tuple[str, int]:
    encoded, end = _bytes(packet, offset)
    return encoded.decode(), end


def _number(packet: bytes, offset: int) -> tuple[int, int]:
    number, bits = 0, 0
    while True:
        byte, offset = packet[offset], offset + 1
        number |= (byte & ~CONTINUES) << bits
        if not byte & CONTINUES:
            return number, offset
        bits += LENGTH_BITS


_READERS: dict[int, tuple[str, Callable[[bytes, int], tuple[Any, int]]]] = {
    0x03: ("content_type", _text),
    0x08: ("response_topic", _text),
    0x09: ("correlation_data", _bytes),
}


def _properties(packet: bytes, offset: int, end: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pairs: list[tuple[str, str]] = []
    while offset < end:
        kind, offset = packet[offset], offset + 1
        if kind == USER_PROPERTY:
            name, offset = _text(packet, offset)
            value, offset = _text(packet, offset)
            pairs.append((name, value))
        elif kind in _READERS:
            member, read = _READERS[kind]
            found[member], offset = read(packet, offset)
        elif kind in FIXED_BYTES:
            offset += FIXED_BYTES[kind]
        elif kind == SUBSCRIPTION_ID:
            _, offset = _number(packet, offset)
        else:
            raise UnreadableError
    if offset != end:
        raise UnreadableError
    return found | {"user_properties": pairs} if pairs else found
