"""HTTP byte for byte, over a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

SECONDS = 20.0
HEADERS = {
    "Content-Type": "application/problem+json",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Answer:
    """One answer, read from a socket."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)

    def problem(self) -> dict[str, Any]:
        """Its body, after a look at what every problem has."""
        assert HEADERS.items() <= self.headers.items()
        assert "Server" not in self.headers
        assert int(self.headers["Content-Length"]) == len(self.body)
        told: dict[str, Any] = json.loads(self.body)
        assert told["status"] == self.status
        return told


class Client:
    """A connection that sends what it is told to, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.read()

    async def interim(self) -> bytes:
        """A head without a body."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> Answer:
        """One answer with a length."""
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(Answer(head).headers["Content-Length"])
            return Answer(head + await self._reader.readexactly(length))

    def close(self) -> None:
        self._writer.transport.abort()
