"""A small HTTP client of our own: aiohttp's would take more of the machine than what is measured."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Mapping
from typing import cast

from benchmarks.wrk import NO_HEADERS, RoundFailedError

ANSWER_SECONDS = 60.0
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
EVENT = (
    '{"specversion":"1.0","id":"%s-%d","source":"/bench/client","type":"reading.recorded","subject":"%s",'
    '"time":"2026-11-22T%02d:%02d:00Z","data":{"metric":"temperature","value":%d.%d,"unit":"C"}}'
)


def event(run: str, number: int, device: str) -> str:
    """An event with an id of its own."""
    return EVENT % (run, number, device, number % 24, number % 60, number % 40, number % 10)


def post(body: str, kind: str, headers: Mapping[str, str] = NO_HEADERS) -> bytes:
    """The request that posts it."""
    head = f"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    more = "".join(f"\r\n{name}: {value}" for name, value in headers.items())
    return f"{head}{more}\r\n\r\n{body}".encode()


class KeepAlive(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._received = b""

    @classmethod
    async def connect(cls, port: int) -> KeepAlive:
        """Connect to a server on loopback."""
        _, protocol = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return protocol

    async def send(self, request: bytes) -> None:
        """Send and return when it is answered. Raises RoundFailedError when the status is not 2xx."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            status = await self._answer
        if status // 100 != 2:  # noqa: PLR2004 - 2xx
            raise RoundFailedError(f"an event was answered with {status}")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(HEAD_END)
        if end < 0 or self._answer is None or self._answer.done():
            return
        length = LENGTH.search(self._received, 0, end)
        if length is None:
            self._answer.set_exception(RoundFailedError("an answer has no Content-Length"))
        elif len(self._received) >= end + len(HEAD_END) + int(length[1]):
            status = int(self._received[9:12])
            self._received = b""
            self._answer.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(RoundFailedError(f"the server closed the connection: {exc}"))


async def post_batches(
    port: int, run: str, *, events: int, size: int, connections: int = 4, headers: Mapping[str, str] = NO_HEADERS
) -> None:
    """Post so many events of 1,000 devices, `size` at a time. Raises RoundFailedError when any is not answered 2xx."""
    starts = itertools.count(0, size)

    async def post_some() -> None:
        connection = await KeepAlive.connect(port)
        try:
            while (first := next(starts)) < events:
                numbers = range(first, min(first + size, events))
                batch = ",".join(event(run, number, f"device-{number * 7919 % 1000}") for number in numbers)
                await connection.send(post(f"[{batch}]", "application/cloudevents-batch+json", headers))
        finally:
            connection.close()

    try:
        async with asyncio.TaskGroup() as posting:
            for _ in range(connections):
                posting.create_task(post_some())
    except ExceptionGroup as errors:
        raise RoundFailedError(f"posting batches failed: {errors.exceptions[0]!r}") from errors
