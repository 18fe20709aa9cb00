"""The one packet that comes often: PUBLISH of MQTT 3.1.1 and 5, read without paho's objects for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.events.mqtt_message import Message

QOS_SHIFT, QOS_MASK = 1, 0x03
LENGTH_BITS, MORE = 7, 0x80
USER_PROPERTY, SUBSCRIPTION_ID = 0x26, 0x0B
# Those that say nothing about an event, and their length: payload format, expiry, topic alias.
FIXED_BYTES = {0x01: 1, 0x02: 4, 0x23: 2}


class UnreadableError(Exception):
    """Not a PUBLISH as we read it; paho may know more."""


def qos_of(first_byte: int) -> int:
    """The quality of service of a PUBLISH."""
    return first_byte >> QOS_SHIFT & QOS_MASK


def read_publish(packet: bytes, qos: int, *, version_5: bool) -> tuple[Message, int]:
    """The message in a PUBLISH, which is without its fixed header here, and its packet identifier (0 with QoS 0).

    Raises UnreadableError.
    """
    try:
        topic, place = _text(packet, 0)
        mid = 0
        if qos:
            mid, place = packet[place] << 8 | packet[place + 1], place + 2
        if not version_5:
            return Message(topic=topic, payload=packet[place:]), mid
        length, place = _number(packet, place)
        if not length:
            return Message(topic=topic, payload=packet[place:]), mid
        end = place + length
        return Message(topic=topic, payload=packet[end:], **_properties(packet, place, end)), mid
    except (IndexError, UnicodeDecodeError) as error:
        raise UnreadableError from error


def _bytes(packet: bytes, place: int) -> tuple[bytes, int]:
    start = place + 2
    end = start + (packet[place] << 8 | packet[place + 1])
    if end > len(packet):
        raise UnreadableError
    return packet[start:end], end


def _text(packet: bytes, place: int) -> tuple[str, int]:
    encoded, end = _bytes(packet, place)
    return encoded.decode(), end


def _number(packet: bytes, place: int) -> tuple[int, int]:
    number, bits = 0, 0
    while True:
        byte, place = packet[place], place + 1
        number |= (byte & ~MORE) << bits
        if not byte & MORE:
            return number, place
        bits += LENGTH_BITS


_READ: dict[int, tuple[str, Callable[[bytes, int], tuple[Any, int]]]] = {
    0x03: ("content_type", _text),
    0x08: ("response_topic", _text),
    0x09: ("correlation_data", _bytes),
}


def _properties(packet: bytes, place: int, end: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pairs: list[tuple[str, str]] = []
    while place < end:
        kind, place = packet[place], place + 1
        if kind == USER_PROPERTY:
            name, place = _text(packet, place)
            value, place = _text(packet, place)
            pairs.append((name, value))
        elif kind in _READ:
            member, read = _READ[kind]
            found[member], place = read(packet, place)
        elif kind in FIXED_BYTES:
            place += FIXED_BYTES[kind]
        elif kind == SUBSCRIPTION_ID:
            _, place = _number(packet, place)
        else:
            raise UnreadableError
    if place != end:
        raise UnreadableError
    return found | {"user_properties": pairs} if pairs else found
