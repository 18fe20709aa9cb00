"""The connections of one port: limits on their number and on the memory of their answers.

All connections are checked once a second: a request costs no timer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import web

from headrace.access.addresses import Network, is_in, read_address
from web.server.connections import Connection
from web.server.handshakes import Handshake
from web.server.places import Places, remote_of
from web.server.raw_answers import HEADER_BYTES, TARGET_BYTES

CHECK_SECONDS = 1.0
IDLE_SECONDS = 75.0
SPARE_CONNECTIONS = 100
"""This many connections beyond the limits may ask how the worker is, or get a problem; the oldest makes room."""


class ConnectionLimits(NamedTuple):
    """What the clients of a port may use."""

    most: int = 1_000
    """Connections."""
    most_of_one: int = 1_000
    """Connections of one address; of one network of 64 bits in IPv6."""
    unsent_bytes: int = 64_000_000
    """Answers that clients have not read yet."""
    held_of_one: int = 0
    """Requests of one caller that are held open; 0: any."""
    proxies: tuple[Network, ...] = ()
    """Addresses that are not one client's: `most_of_one` does not apply to them."""


class Connections(web.Server):
    """All connections of a port, the limits on their number and their memory, and the timer that checks them."""

    def __init__(
        self,
        handler: Callable[[Any], Awaitable[web.StreamResponse]],
        *,
        limits: ConnectionLimits,
        request_factory: Any,
        service: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(handler, request_factory=request_factory, **kwargs)
        self.service = service
        self.tls: ssl.SSLContext | None = None
        """For new connections; None: they speak plain HTTP."""
        self._limits = limits
        self._places = Places(limits.most, limits.most_of_one)
        self._spare: dict[Connection | Handshake, None] = {}
        """The connections beyond the limits, oldest first."""
        self._handshakes: set[Handshake] = set()
        self.held = 0
        """Requests that are held open."""
        self.held_by: Counter[str] = Counter()
        """The same, by caller."""
        self._checking = self._loop.call_later(CHECK_SECONDS, self._check)

    def __call__(self) -> Any:  # aiohttp names its own class
        """The protocol of a new connection, before it is made."""
        return self._connection() if self.tls is None else Handshake(self)

    def _connection(self) -> Connection:
        return Connection(self, self, loop=self._loop, **self._kwargs)

    def handshake_begins(self, handshake: Handshake, transport: asyncio.Transport) -> None:
        """Give it a place; beyond the limits, the connection may only ask how the worker is."""
        self._handshakes.add(handshake)
        self._take_place(handshake, transport)

    def handshake_ends(self, handshake: Handshake) -> None:
        """Free the place of a handshake that failed."""
        self._handshakes.discard(handshake)
        self._free_place(handshake)

    def connection_over_tls(self, handshake: Handshake) -> Connection:
        """The connection that has the place of the handshake from now on."""
        self._handshakes.discard(handshake)
        connection = self._connection()
        connection.remote, connection.is_one_too_many = handshake.remote, handshake.is_one_too_many
        connection.wire = handshake.wire
        if self._spare.pop(handshake, self) is None:
            self._spare[connection] = None
        return connection

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Mark a connection beyond the limits: it may only ask how the worker is."""
        super().connection_made(handler, transport)
        if not isinstance(handler, Connection):
            return
        if handler.wire is None:
            handler.wire = transport
            self._take_place(handler, transport)
        if handler.is_one_too_many:
            handler.head_since = self._loop.time()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget the connection."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            self._free_place(handler)

    def _take_place(self, one: Connection | Handshake, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        one.remote = remote_of(peer)
        one.is_one_too_many = not self._places.take(one.remote, is_of_many=self._is_proxy(peer))
        if not one.is_one_too_many:
            return
        self._spare[one] = None
        if len(self._spare) > SPARE_CONNECTIONS:
            silent = next((other for other in self._spare if not other.is_answering), one)
            self._spare.pop(silent)
            if isinstance(silent, Handshake):
                silent.abort()
            else:
                self._drop(silent)

    def _free_place(self, one: Connection | Handshake) -> None:
        self._spare.pop(one, None)
        if not one.is_one_too_many:
            self._places.give_back(one.remote)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own signature
        """Let requests in flight finish, then close."""
        self._checking.cancel()
        for handshake in self._handshakes:
            handshake.abort()
        await super().shutdown(timeout)

    def may_hold(self, caller: str = "") -> bool:
        """Whether one more request of a caller may be held open: at most half of the connections are."""
        if caller and 0 < self._limits.held_of_one <= self.held_by[caller]:
            return False
        return self.held < max(1, self._limits.most // 2)

    def make_room(self, more_bytes: int = 0) -> None:
        """Disconnect the clients that have read their answers for longest, until all unsent bytes are in the limit."""
        unsent = [(one, one.unsent_bytes) for one in self._connections if isinstance(one, Connection)]
        excess = more_bytes + sum(size for _, size in unsent) - self._limits.unsent_bytes
        if excess <= 0:
            return
        for one, size in sorted(unsent, key=lambda pair: pair[0].unsent_since):
            if excess > 0 and size:
                self._drop(one)
                excess -= size

    def _is_proxy(self, peer: Any) -> bool:
        return isinstance(peer, tuple) and is_in(read_address(peer[0]), self._limits.proxies)

    def _drop(self, connection: Connection) -> None:
        transport = self._connections.get(connection)
        if transport is not None:
            transport.abort()

    def _check(self) -> None:
        now = self._loop.time()
        for connection in self.connections:
            if isinstance(connection, Connection):
                connection.check(now)
        self.make_room()
        self._checking = self._loop.call_later(CHECK_SECONDS, self._check)


class Runner(web.AppRunner):
    """Runs an application on `Connections`."""

    def __init__(
        self, application: web.Application, *, limits: ConnectionLimits, shutdown_seconds: float, service: str = ""
    ) -> None:
        super().__init__(application, access_log=None, handle_signals=False, shutdown_timeout=shutdown_seconds)
        self._limits = limits
        self._service = service

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return Connections(
            plain.request_handler,
            request_factory=plain.request_factory,
            limits=self._limits,
            service=self._service,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=TARGET_BYTES,
            max_field_size=HEADER_BYTES,
            **plain._kwargs,
        )
