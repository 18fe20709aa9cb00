"""A connection before its TLS handshake is complete. It counts as a connection of the port from its first packet.

The event loop could do the handshakes itself, but then a connection would be unknown, and unlimited, until it is done.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from web.server.connections import Connection

HANDSHAKE_SECONDS = 10.0
"""From the first packet of a connection to the end of its handshake."""
SHUTDOWN_SECONDS = 3_600.0
"""Never reached: `Connection.check` ends a connection whose client does not read its last answer, or does not close."""
ABORT_SECONDS = 0.01

throttled = ThrottledLog(ActionLog(__name__))


class HandshakePort(Protocol):
    """What a handshake needs of its port."""

    service: str
    tls: ssl.SSLContext | None
    """For the next handshake."""

    def handshake_begins(self, handshake: Handshake, transport: asyncio.Transport) -> None:
        """Give it a place."""

    def handshake_ends(self, handshake: Handshake) -> None:
        """It failed: its place is free."""

    def connection_over_tls(self, handshake: Handshake) -> Connection:
        """The connection that has the place of the handshake from now on."""


class Handshake(asyncio.Protocol):
    """The protocol of a connection until its handshake is done, or fails."""

    is_answering = False

    def __init__(self, port: HandshakePort) -> None:
        self._port = port
        self._early: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self.remote = ""
        self.is_one_too_many = False
        self.wire: asyncio.Transport | None = None
        """The connection below TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place and begin."""
        wire = cast("asyncio.Transport", transport)  # uvloop's transport is one, but does not declare it
        self.wire = wire
        self._port.handshake_begins(self, wire)
        if not wire.is_closing():
            self._task = asyncio.get_running_loop().create_task(self._shake(wire))

    def data_received(self, data: bytes) -> None:
        """Keep what follows the handshake so closely that nobody has taken it over yet."""
        self._early.append(data)

    def connection_lost(self, _: Exception | None) -> None:
        """The connection ended before its handshake began."""
        if self._task is None:
            self._port.handshake_ends(self)

    def abort(self) -> None:
        """End the connection, but not while the event loop is between two steps of `start_tls`."""
        if self.wire is not None:
            asyncio.get_running_loop().call_later(ABORT_SECONDS, self.wire.abort)

    async def _shake(self, wire: asyncio.Transport) -> None:
        try:
            tls = await self._tls(wire)
        except BaseException:
            self._port.handshake_ends(self)
            raise
        if tls is None:
            wire.abort()
            self._port.handshake_ends(self)
            return
        connection = self._port.connection_over_tls(self)
        tls.set_protocol(connection)
        connection.connection_made(tls)
        for data in self._early:
            connection.data_received(data)

    async def _tls(self, wire: asyncio.Transport) -> asyncio.Transport | None:
        context, loop = self._port.tls, asyncio.get_running_loop()
        if context is None or wire.is_closing():
            return None
        upgrade = loop.create_task(
            loop.start_tls(
                wire,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        )
        try:
            await asyncio.sleep(0)  # from now on, TLS receives; what came before is passed on
            self._pass_on(wire.get_protocol())
            tls = await upgrade
        except ssl.SSLError as error:
            text = "{service}: a TLS handshake failed: {error}"
            throttled.warning(LogAction.TLS_REFUSED, text, service=self._port.service, error=in_plain_words(error))
            return None
        except OSError:  # it took too long, or the client is gone, as with a health check by TCP
            return None
        except RuntimeError:  # uvloop's, for a connection that ended before TLS could begin
            if not wire.is_closing():
                raise
            return None
        return None if tls is None or tls.is_closing() else tls

    def _pass_on(self, protocol: asyncio.BaseProtocol | None) -> None:
        early, self._early = b"".join(self._early), []
        if not hasattr(protocol, "get_buffer"):
            return  # it has ended
        receiver = cast("asyncio.BufferedProtocol", protocol)  # uvloop's is one, but does not declare it
        while early:
            buffer = memoryview(receiver.get_buffer(len(early)))
            size = min(len(buffer), len(early))
            buffer[:size], early = early[:size], early[size:]
            receiver.buffer_updated(size)


def in_plain_words(error: ssl.SSLError) -> str:
    """Why a handshake failed."""
    match error.reason:
        case "HTTP_REQUEST":
            return "the client speaks plain HTTP (http:// instead of https://)"
        case "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "the client has no certificate"
        case "UNSUPPORTED_PROTOCOL":
            return "the client knows no TLS 1.2 or newer"
        case _ if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate of the client is not accepted: {error.verify_message}"
        case reason:
            return (reason or str(error)).lower().replace("_", " ")
