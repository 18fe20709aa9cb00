"""A socket for paho on top of an asyncio transport, TCP or TLS."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import cast

# A dead peer is detected within seconds, or within a minute if there is unacknowledged data.
KEEPALIVES = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
if sys.platform == "linux":
    KEEPALIVES += [
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
    ]


class MqttSocket(asyncio.Protocol):
    """Connects paho to an asyncio transport. All writes within one iteration of the event loop are sent together."""

    def __init__(self) -> None:
        self.readable: Callable[[], None] = lambda: None
        """Called when bytes have been received; it must read all of them."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended, for whatever reason."""
        self.fault: Exception | None = None
        """Why it has ended, if not in order."""
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._read = 0
        self._unsent = bytearray()
        self._is_paused = False

    @property
    def has_more(self) -> bool:
        """Whether there are received bytes that paho has not read."""
        return self._read < len(self._received)

    def pause(self) -> None:
        """Stop reading from the connection: the broker stops sending when the buffers are full."""
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Resume reading from the connection."""
        if self._transport is not None and self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is one, but does not declare it
        connection = transport.get_extra_info("socket")
        for level, option, value in KEEPALIVES:
            connection.setsockopt(level, option, value)

    def data_received(self, data: bytes) -> None:
        self._received, self._read = data, 0
        self.readable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.fault = exc
        if not self.lost.done():
            self.lost.set_result(None)

    # Called by paho.

    def recv(self, size: int) -> bytes:
        """Up to `size` received bytes. Raises BlockingIOError if there are none."""
        chunk = self._received[self._read : self._read + size]
        if not chunk:
            raise BlockingIOError
        self._read += len(chunk)
        return chunk

    def send(self, data: bytes) -> int:
        """Queue the data until the end of this iteration of the event loop; return its length."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self.flush)
        self._unsent += data
        return len(data)

    def flush(self) -> None:
        """Pass all queued data to the transport."""
        unsent, self._unsent = self._unsent, bytearray()
        if unsent and self._transport is not None:
            self._transport.write(unsent)

    def setblocking(self, _: bool) -> None:  # noqa: FBT001 - a socket's method
        """Do nothing: this socket never blocks."""

    def close(self) -> None:
        """Send the queued data, then close the connection."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection immediately, without sending queued data."""
        if self._transport is not None:
            self._transport.abort()
