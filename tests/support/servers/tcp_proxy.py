"""A TCP proxy that loses or slows what passes through it: nothing at all, the answers, or the connections themselves.

Our own rather than toxiproxy, which needs Go on the machine and a port of its own for each toxic; and toxiproxy cannot
pick out one connection by what is said on it, which the black hole for LISTEN needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from enum import Enum
from typing import Any

CHUNK_BYTES = 65_536
# Closing sends RST instead of FIN.
RESET = struct.pack("ii", 1, 0)


class Passing(Enum):
    """What passes."""

    EVERYTHING = "everything"
    REQUESTS = "requests"
    """The answers are lost; the server does what it is asked."""
    NOTHING = "nothing"
    """A black hole: connections stay open, and nobody hears anything."""


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.said = b""
        """The beginning of what the client said."""
        self.passing = Passing.EVERYTHING
        self.swallowed = 0

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.client.transport.is_closing()

    def reset(self) -> None:
        """End both sides with a RST."""
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class TcpProxy:
    """Listens on `port` of loopback, and passes what comes on to a port of loopback or to a Unix socket."""

    def __init__(self, port: int, upstream: int | str) -> None:
        self.port = port
        self.links: list[Link] = []
        self.refused = self.throttled = 0
        """Connections that were refused, and bytes that passed slowly."""
        self._bytes_a_second: int | None = None
        self._upstream = upstream
        self._passing = Passing.EVERYTHING
        self._server: asyncio.Server | None = None
        self._refuses = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self.links:
            link.reset()  # also those of which one side has ended
        writers = [writer for link in self.links for writer in (link.client, link.server)]
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    @property
    def swallowed(self) -> int:
        """How many bytes were lost."""
        return sum(link.swallowed for link in self.links)

    def let_pass(self, passing: Passing) -> None:
        """From now on, on all connections; what was lost stays lost."""
        self._passing = passing
        for link in self.links:
            link.passing = passing

    def reset(self) -> int:
        """End all connections with RST; how many there were."""
        living = [link for link in self.links if not link.is_closed]
        for link in living:
            link.reset()
        return len(living)

    def refuse(self, *, refuse: bool) -> None:
        """Whether new connections are reset at once, as if nobody listened; those that are there stay."""
        self._refuses = refuse

    def throttle(self, bytes_a_second: int | None) -> None:
        """How many bytes of requests pass on each connection from now on; None for all."""
        self._bytes_a_second = bytes_a_second

    async def _slow(self, chunk: bytes) -> None:
        if self._bytes_a_second is not None:
            self.throttled += len(chunk)
            await asyncio.sleep(len(chunk) / self._bytes_a_second)

    def _accept(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._run(self._serve(client_reader, client))

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            if self._refuses:
                raise ConnectionRefusedError
            if isinstance(self._upstream, str):
                server_reader, server = await asyncio.open_unix_connection(self._upstream)
            else:
                server_reader, server = await asyncio.open_connection("127.0.0.1", self._upstream)
        except (OSError, asyncio.CancelledError):
            self.refused += 1
            client.transport.abort()
            return
        link = Link(client, server)
        link.passing = self._passing
        self.links.append(link)
        self._run(self._requests(link, client_reader))
        self._run(self._answers(link, server_reader))

    async def _requests(self, link: Link, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                link.said = (link.said + chunk)[-CHUNK_BYTES:] if len(link.said) < CHUNK_BYTES else link.said
                await self._slow(chunk)
                await _pass_on(link, chunk, link.server, passes=link.passing is not Passing.NOTHING)
        link.server.close()

    async def _answers(self, link: Link, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await _pass_on(link, chunk, link.client, passes=link.passing is Passing.EVERYTHING)
        link.client.close()


async def _pass_on(link: Link, chunk: bytes, writer: asyncio.StreamWriter, *, passes: bool) -> None:
    if not passes:
        link.swallowed += len(chunk)
        return
    writer.write(chunk)
    await writer.drain()
