"""A client's connection: time limits for a request's head and for its answer.

aiohttp parses HTTP and closes idle connections. It has no time limit for a head that never ends, and answers a
malformed head with plain text and a banner.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from web.server.problems import Problem, problem_of
from web.server.raw_answers import HEADER_BYTES, malformed, raw
from web.server.request_ids import id_of

HEAD_SECONDS = 10.0
"""From the first byte of a request's head to its last."""
ANSWER_SECONDS = 30.0
"""How long a client may read nothing of an answer that waits for it."""
CLOSE_SECONDS = 5.0
"""How long a client may take to end TLS, after the server has."""
END_OF_HEAD = b"\r\n\r\n"
LARGE_BYTES = 65_536
"""An answer of this size needs room among the bytes that clients have not read yet."""
HEALTH_STARTS = tuple(
    f"{method} {path}{end}".encode()
    for method in ("GET", "HEAD")
    for path in ("/livez", "/readyz", "/metrics")
    for end in (" ", "?")
)

log = ActionLog(__name__)


class Port(Protocol):
    """What a connection needs of all connections of its port."""

    held: int
    """Requests that are held open."""

    def make_room(self, more_bytes: int) -> None:
        """Disconnect slow readers, so that this answer fits into the limit of unsent bytes."""

    held_by: Counter[str]
    """The same, by caller."""

    def may_hold(self, caller: str) -> bool:
        """Whether one more request of this caller may be held open."""


class Connection(web.RequestHandler):
    """A client's connection. Slow or malformed requests end it, with a problem where it can still be sent."""

    __slots__ = (
        "_heads",
        "_payload",
        "_spare_head",
        "answer_bytes",
        "certificate_of",
        "head_since",
        "is_one_too_many",
        "on_lost",
        "port",
        "remote",
        "unsent_since",
        "untaken_bytes",
        "untaken_since",
        "wire",
    )

    def __init__(self, manager: web.Server, port: Port, **arguments: Any) -> None:
        super().__init__(manager, **arguments)
        self.port = port
        self.remote = ""
        """The client's address."""
        self.wire: asyncio.Transport | None = None
        """The connection below TLS, or the connection itself."""
        self.certificate_of: object = None
        """Whose the client's certificate is: for web/access/certificates.py."""
        self.head_since: float | None = None
        """When the first byte of the incomplete head arrived (the loop's time)."""
        self.is_one_too_many = False
        self.answer_bytes = 0
        """Of the large answer that is being written. It stays in memory until its last bytes can be buffered."""
        self.on_lost: Callable[[], object] | None = None
        self.untaken_bytes = 0
        self.untaken_since = self.unsent_since = self._loop.time()
        self._spare_head = b""
        self._heads = 0
        self._payload: Any = EMPTY_PAYLOAD
        # aiohttp's own discards the complete requests of a read when malformed data follows them.
        self._parser = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=1,
        )

    def data_received(self, data: bytes) -> None:
        """Note when a head begins and when it is complete. Data after a head in the same read is noted later."""
        if self.is_one_too_many:
            self._receive_spare(data)
            return
        body_was_whole = self._payload.is_eof()
        heads = self._heads
        self._receive(data)
        if self._heads != heads:
            self.head_since = None
        elif self.head_since is None and data and body_was_whole:
            self.head_since = self._loop.time()

    def _receive_spare(self, data: bytes) -> None:
        """Beyond the limits: one request that asks how the worker is, and nothing else."""
        if self._heads:
            return
        head, end, _ = (self._spare_head + data).partition(END_OF_HEAD)
        is_health = any(start.startswith(head) or head.startswith(start) for start in HEALTH_STARTS)
        if is_health and end:
            self.head_since = None
            self._receive(head + end)
            self.close()
        elif is_health and len(head) <= HEADER_BYTES:
            self._spare_head = head
        else:
            detail = "Use fewer connections, or try again later."
            self.end_with(Problem(503, "too_many_connections", "Too many connections", detail))

    def _receive(self, data: bytes) -> None:
        """Pass data to the parser, which stops behind each request, until it needs more."""
        while True:
            was_whole = self._payload.is_eof()
            super().data_received(data)
            if self._request_count == self._heads:
                if was_whole or not self._payload.is_eof():
                    return
            else:
                self._heads = self._request_count
                if self._messages:
                    message, self._payload = self._messages[-1]
                    if not isinstance(message, RawRequestMessage) or not self._payload.is_eof():
                        return
            if len(self._messages) >= MAX_MSG_QUEUE_SIZE or self._parser is None:
                return
            self._parser.message_consumed()
            if (
                was_whole
                and data
                and data.find(END_OF_HEAD) + len(END_OF_HEAD) + self._payload.total_bytes == len(data)
            ):
                return  # the usual read is one request, and nothing is left of it
            data = b""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the work for the client."""
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    @property
    def is_answering(self) -> bool:
        """Whether a request is being answered."""
        return self._current_request is not None

    @property
    def unsent_bytes(self) -> int:
        """The memory of the client's answer."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return 0
        return max(self.answer_bytes, self._buffered())

    def _buffered(self) -> int:
        """What was written and not yet sent. TLS passes what it has encrypted to the connection below."""
        upper, lower = self.transport, self.wire
        size = 0 if upper is None else upper.get_write_buffer_size()
        return size if lower is None or lower is upper else size + lower.get_write_buffer_size()

    def check(self, now: float) -> None:
        """End the connection if its client is too slow."""
        if self.transport is None:
            self._check_end(now)
            return
        if self.head_since is not None and now - self.head_since > HEAD_SECONDS:
            detail = f"The head of a request must be complete within {HEAD_SECONDS:.0f} s."
            self.end_with(Problem(408, "slow_head", "The request took too long", detail))
            return
        # A stream keeps writing to a client that reads nothing: only a shrinking buffer shows that it reads.
        untaken, before = self._buffered(), self.untaken_bytes
        self.untaken_bytes = untaken
        if untaken == 0:
            self.unsent_since = now
        if untaken == 0 or untaken < before:
            self.untaken_since = now
        elif now - self.untaken_since > ANSWER_SECONDS:
            self.transport.abort()

    def _check_end(self, now: float) -> None:
        """End a connection that is closing, if its client does not read the rest, or does not close TLS either."""
        untaken, before = self._buffered(), self.untaken_bytes
        self.untaken_bytes = untaken
        if untaken < before:
            self.untaken_since = now
        elif self.wire is not None and now - self.untaken_since > (ANSWER_SECONDS if untaken else CLOSE_SECONDS):
            self.wire.abort()

    def end_with(self, problem: Problem) -> None:
        """Close it; with this problem, unless the answer to an earlier request is in flight."""
        if self.transport is not None and self._current_request is None:
            self.transport.write(raw(problem))
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a malformed head with a problem; log why an answer that had begun failed."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client is gone, or has the problem that is written below
        if status == HTTPStatus.BAD_REQUEST and self.transport is not None and not request.writer.output_size:
            self.transport.write(raw(malformed(exc)))
        elif exc is not None and self.transport is not None:
            log.exception(
                LogAction.RESPONSE_BROKEN,
                "The response to {method} {path} broke off (request {request_id})",
                exc,
                method=request.method,
                path=request.rel_url.raw_path,
                request_id=id_of(request),
            )
        raise ConnectionError("the connection ends here")

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Any:  # a coroutine; typed as aiohttp's own
        """Turn what aiohttp refuses by itself, before any middleware, into a problem too."""
        if isinstance(resp, web.HTTPException) and isinstance(request, web.Request):
            resp = problem_of(request, resp).answer(request)
        if isinstance(resp, web.Response) and isinstance(resp.body, bytes) and len(resp.body) >= LARGE_BYTES:
            if not self._buffered():
                self.unsent_since = self._loop.time()
            self.port.make_room(len(resp.body))
            finishing = self._release_after(super().finish_response(request, resp, start_time), resp, len(resp.body))
        else:
            finishing = super().finish_response(request, resp, start_time)
        is_refused_early = resp.keep_alive is False and not request.content.is_eof()
        return self._close_after(finishing) if is_refused_early else finishing

    async def _release_after(self, finishing: Any, answer: web.Response, size: int) -> Any:
        """Free the memory of a large answer: aiohttp would keep it until the next request of the connection."""
        self.answer_bytes = size
        try:
            return await finishing
        finally:
            self.answer_bytes = 0
            answer.body = None

    async def _close_after(self, finishing: Any) -> Any:
        """Send the end at once. The rest of the body is still read for a while: a reset would destroy the answer."""
        finished = await finishing
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
        return finished


def cancel_when_lost(request: web.Request, task: asyncio.Task[Any]) -> None:
    """Cancel a task as soon as the client that it works for has disconnected."""
    if isinstance(request.protocol, Connection):
        request.protocol.on_lost = task.cancel


@contextmanager
def holding(request: web.Request, caller: str = "") -> Iterator[bool]:
    """Count a request as held open; the value is whether there is room for it.

    `caller` is the id of the caller; empty where anybody may send.
    """
    port = request.protocol.port if isinstance(request.protocol, Connection) else None
    if port is None:
        yield True
    elif not port.may_hold(caller):
        yield False
    else:
        port.held += 1
        port.held_by[caller] += 1
        try:
            yield True
        finally:
            port.held -= 1
            port.held_by[caller] -= 1
            if not port.held_by[caller]:
                del port.held_by[caller]
