"""The socket that paho reads and writes: bytes that asyncio has received and will send, TCP or TLS."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import cast

# A peer that vanished is noticed in seconds, or, while something is on its way to it, within a minute.
KEEPALIVES = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
if sys.platform == "linux":
    KEEPALIVES += [
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
    ]


class MqttSocket(asyncio.Protocol):
    """Gives paho the bytes of an asyncio transport. What paho sends within one turn of the loop goes out at once."""

    def __init__(self) -> None:
        self.readable: Callable[[], None] = lambda: None
        """Called when bytes have come; it must read all of them."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended, however it ended."""
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._read = 0
        self._unsent = bytearray()
        self._is_paused = False

    @property
    def has_more(self) -> bool:
        """Whether bytes are here that were not read."""
        return self._read < len(self._received)

    def pause(self) -> None:
        """Receive nothing for a while: the broker will notice when its buffers are full."""
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Receive again."""
        if self._transport is not None and self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        connection = transport.get_extra_info("socket")
        for level, option, value in KEEPALIVES:
            connection.setsockopt(level, option, value)

    def data_received(self, data: bytes) -> None:
        self._received, self._read = data, 0
        self.readable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    # What paho calls.

    def recv(self, size: int) -> bytes:
        """Raises BlockingIOError when there is nothing to read now."""
        chunk = self._received[self._read : self._read + size]
        if not chunk:
            raise BlockingIOError
        self._read += len(chunk)
        return chunk

    def send(self, data: bytes) -> int:
        """All of it, with what else is sent in this turn of the loop."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self.flush)
        self._unsent += data
        return len(data)

    def flush(self) -> None:
        """Send now."""
        unsent, self._unsent = self._unsent, bytearray()
        if unsent and self._transport is not None:
            self._transport.write(unsent)

    def setblocking(self, _: bool) -> None:  # noqa: FBT001 - a socket's method
        """It never blocks."""

    def close(self) -> None:
        """Send what is left, and end the connection."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()
