"""The few packets of MQTT 3.1.1 that a device sends, as bytes."""

from __future__ import annotations

CONNECT, PUBLISH, DISCONNECT = 0x10, 0x30, b"\xe0\x00"
QOS_1, RETAIN, DUP = 0x02, 0x01, 0x08
CLEAN_SESSION, WITH_PASSWORD, WITH_USER = 0x02, 0x40, 0x80
LEVEL_3_1_1 = 4
CONNACK_BYTES, PUBACK_BYTES = 4, 4
LENGTH_BITS = 7


def text(value: str) -> bytes:
    """A string with its length in front."""
    encoded = value.encode()
    return len(encoded).to_bytes(2) + encoded


def connect(
    client_id: str, *, user: str | None = None, password: str = "", clean: bool = True, keepalive_seconds: int = 60
) -> bytes:
    """CONNECT."""
    flags = (CLEAN_SESSION if clean else 0) | (0 if user is None else WITH_USER | WITH_PASSWORD)
    head = text("MQTT") + bytes([LEVEL_3_1_1, flags]) + keepalive_seconds.to_bytes(2)
    return _packet(CONNECT, head + text(client_id) + (b"" if user is None else text(user) + text(password)))


def publish(topic: str, payload: bytes, mid: int, *, retain: bool = False, dup: bool = False) -> bytes:
    """PUBLISH with QoS 1."""
    flags = QOS_1 | (RETAIN if retain else 0) | (DUP if dup else 0)
    return _packet(PUBLISH | flags, text(topic) + mid.to_bytes(2) + payload)


def _packet(first: int, rest: bytes) -> bytes:
    length, left = bytearray(), len(rest)
    while True:
        left, low = left >> LENGTH_BITS, left & 0x7F
        length.append(low | (0x80 if left else 0))
        if not left:
            return bytes([first, *length]) + rest
