"""A metadata request to Kafka: does a broker answer on this port, and to which cluster does it belong?"""

from __future__ import annotations

import asyncio
import struct

from app.embedded.ports import LOOPBACK

REQUEST_SECONDS = 2.0
MAX_RESPONSE_BYTES = 1_000_000
METADATA, VERSION, CORRELATION = 3, 2, 1
CLIENT = b"headrace"
NO_TOPICS = 0


async def answering_cluster(port: int) -> str | None:
    """The id of the cluster whose broker answers on the port; None if none answers or no broker is ready."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(metadata_request())
                (length,) = struct.unpack(">i", await reader.readexactly(4))
                if not 0 < length <= MAX_RESPONSE_BYTES:
                    return None
                return cluster_in(await reader.readexactly(length))
            finally:
                writer.close()
    except (OSError, TimeoutError, EOFError, struct.error, UnicodeDecodeError):
        return None


def metadata_request() -> bytes:
    """A metadata request, version 2, for no topics."""
    header = struct.pack(f">hhih{len(CLIENT)}s", METADATA, VERSION, CORRELATION, len(CLIENT), CLIENT)
    request = header + struct.pack(">i", NO_TOPICS)
    return struct.pack(">i", len(request)) + request


def cluster_in(response: bytes) -> str | None:
    """The id of the cluster in the response to `metadata_request`; None if it lists no broker.

    Raises struct.error or UnicodeDecodeError for bytes that are not such a response.
    """
    correlation, brokers = struct.unpack_from(">ii", response)
    if correlation != CORRELATION or brokers < 1:
        return None
    place = 8
    for _ in range(brokers):
        place += 4  # its id
        _, place = _text(response, place)  # its host
        place += 4  # its port
        _, place = _text(response, place)  # its rack
    cluster, _ = _text(response, place)
    return cluster


def _text(response: bytes, place: int) -> tuple[str | None, int]:
    (length,) = struct.unpack_from(">h", response, place)
    if length < 0:
        return None, place + 2
    (text,) = struct.unpack_from(f">{length}s", response, place + 2)
    return text.decode(), place + 2 + length
