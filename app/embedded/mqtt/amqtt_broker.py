"""`python amqtt_broker.py PORT MAX_PACKET_BYTES`: amqtt on loopback, for a machine without mosquitto.

It runs as a script that imports nothing else of Headrace, so it starts quickly and ignores a worker's settings.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

MAX_CONNECTIONS = 1_000
CONNECT_SECONDS = 10.0
# Of a client that announces no keepalive.
IDLE_SECONDS = 3_600.0
PACKET_SECONDS = 60.0
# A client that is away for longer loses its session, and the messages in it.
SESSION_SECONDS = 7 * 86_400
LENGTH_BYTES, LENGTH_BITS, CONTINUES = 4, 7, 0x80


class PacketReader(ReaderAdapter):  # type: ignore[misc]  # mypy does not follow amqtt
    """Reads whole packets, within limits of size and time. A client that exceeds a limit is taken as disconnected."""

    def __init__(self, reader: asyncio.StreamReader, max_packet_bytes: int) -> None:
        self._reader = reader
        self._max_packet_bytes = max_packet_bytes
        self._wait_seconds = CONNECT_SECONDS
        self._packet, self._read = b"", 0

    async def read(self, n: int = -1) -> bytes:
        """Bytes of the next packet, at most `n`; none after the end of the connection."""
        if self._read == len(self._packet):
            self._packet, self._read = await self._next_packet(), 0
        start, end = self._read, len(self._packet) if n < 0 else min(self._read + n, len(self._packet))
        self._read = end
        return self._packet[start:end]

    def feed_eof(self) -> None:
        """End the connection."""
        self._reader.feed_eof()

    async def _next_packet(self) -> bytes:
        try:
            async with asyncio.timeout(self._wait_seconds):
                packet = await self._reader.readexactly(1)
            self._wait_seconds = IDLE_SECONDS
            async with asyncio.timeout(PACKET_SECONDS):
                return await self._rest(packet)
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            return b""

    async def _rest(self, packet: bytes) -> bytes:
        length = 0
        for place in range(LENGTH_BYTES):
            byte = await self._reader.readexactly(1)
            packet += byte
            length |= (byte[0] & ~CONTINUES) << (LENGTH_BITS * place)
            if not byte[0] & CONTINUES:
                is_allowed = len(packet) + length <= self._max_packet_bytes
                return packet + await self._reader.readexactly(length) if is_allowed else b""
        return b""


class LimitedBroker(Broker):  # type: ignore[misc]  # mypy does not follow amqtt
    """amqtt, which has no limits of packets and times itself, and lets surplus connections wait."""

    def __init__(self, config: BrokerConfig, max_packet_bytes: int) -> None:
        super().__init__(config)
        self._max_packet_bytes = max_packet_bytes
        self._connections = 0

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve a connection until it ends; close it if there are too many."""
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                packets = PacketReader(reader, self._max_packet_bytes)
                await self.external_connected(packets, StreamWriterAdapter(writer), listener_name)
        finally:
            self._connections -= 1
            writer.close()


class Everyone(BaseAuthPlugin):  # type: ignore[misc]  # mypy does not follow amqtt
    """Accepts every client. amqtt's own plugin makes every client anonymous, and stores nothing for such clients."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """True for every client."""
        return session is not None


async def run(port: int, max_packet_bytes: int) -> None:
    """Run the broker on this port until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    plugins: dict[str, object] = {f"{__name__}.{Everyone.__name__}": {}}
    config = {"listeners": listeners, "plugins": plugins, "session_expiry_interval": SESSION_SECONDS}
    broker = LimitedBroker(BrokerConfig.from_dict(config), max_packet_bytes)
    await broker.start()
    await stopped.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2])))
