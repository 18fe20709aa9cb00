"""The connections of one port: a limit on their number, and time limits for a request's head and for its answer.

aiohttp parses HTTP and closes idle connections. It has no time limit for a head that never ends, and answers a
malformed head with plain text and a banner. All connections are checked once a second: a request costs no timer.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from headrace.events.problem_document import CONTENT_TYPE
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from web.server.problems import Problem, problem_of

HEAD_SECONDS = 10.0
"""From the first byte of a request's head to its last."""
ANSWER_SECONDS = 30.0
"""How long a client may read nothing of an answer that waits for it."""
IDLE_SECONDS = 75.0
TARGET_BYTES = 8_192
HEADER_BYTES = 8_190
"""Differs from TARGET_BYTES: aiohttp's error names only the limit, which shows what is too long."""
END_OF_HEAD = b"\r\n\r\n"
CHECK_SECONDS = 1.0
SPARE_CONNECTIONS = 100
"""This many connections beyond the limit get a problem; further connections are closed without an answer."""
RETRY_AFTER_SECONDS = 1
# For anything but the connections of the two ports: PostgreSQL, Kafka, logs, libraries.
OTHER_FILES = 256

log = ActionLog(__name__)


class Connection(web.RequestHandler):
    """A client's connection. Slow or malformed requests end it, with a problem where it can still be sent."""

    __slots__ = ("_heads", "_payload", "head_since", "is_one_too_many", "on_lost", "untaken_bytes", "untaken_since")

    def __init__(self, manager: Connections, **arguments: Any) -> None:
        super().__init__(manager, **arguments)
        self.head_since: float | None = None
        """When the first byte of the incomplete head arrived (the loop's time)."""
        self.is_one_too_many = False
        self.on_lost: Callable[[], object] | None = None
        self.untaken_bytes = 0
        self.untaken_since = self._loop.time()
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
            detail = "Use fewer connections, or try again later."
            self.end_with(Problem(503, "too_many_connections", "Too many connections", detail))
            return
        body_was_whole = self._payload.is_eof()
        heads = self._heads
        self._receive(data)
        if self._heads != heads:
            self.head_since = None
        elif self.head_since is None and data and body_was_whole:
            self.head_since = self._loop.time()

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

    def check(self, now: float) -> None:
        """End the connection if its client is too slow."""
        if self.transport is None:
            return
        if self.head_since is not None and now - self.head_since > HEAD_SECONDS:
            detail = f"The head of a request must be complete within {HEAD_SECONDS:.0f} s."
            self.end_with(Problem(408, "slow_head", "The request took too long", detail))
            return
        # A stream keeps writing to a client that reads nothing: only a shrinking buffer shows that it reads.
        untaken, before = self.transport.get_write_buffer_size(), self.untaken_bytes
        self.untaken_bytes = untaken
        if untaken == 0 or untaken < before:
            self.untaken_since = now
        elif now - self.untaken_since > ANSWER_SECONDS:
            self.transport.abort()

    def end_with(self, problem: Problem) -> None:
        """Close the connection; with this problem, unless the answer to an earlier request is in flight."""
        if self.transport is not None and self._current_request is None:
            self.transport.write(_raw(problem))
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
            self.transport.write(_raw(_malformed(exc)))
        elif exc is not None and self.transport is not None:
            log.exception(
                LogAction.RESPONSE_BROKEN,
                "The response to {method} {path} broke off",
                exc,
                method=request.method,
                path=request.rel_url.raw_path,
            )
        raise ConnectionError("the connection ends here")

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Any:  # a coroutine; typed as aiohttp's own
        """Turn what aiohttp refuses by itself, before any middleware, into a problem too."""
        if isinstance(resp, web.HTTPException) and isinstance(request, web.Request):
            resp = problem_of(request, resp).answer()
        finishing = super().finish_response(request, resp, start_time)
        is_refused_early = resp.keep_alive is False and not request.content.is_eof()
        return self._close_after(finishing) if is_refused_early else finishing

    async def _close_after(self, finishing: Any) -> Any:
        """Send the end at once. The rest of the body is still read for a while: a reset would destroy the answer."""
        finished = await finishing
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
        return finished


class Connections(web.Server):
    """All connections of a port, and the timer that checks them."""

    def __init__(
        self, handler: Callable[[Any], Awaitable[web.StreamResponse]], *, most: int, request_factory: Any, **kwargs: Any
    ) -> None:
        super().__init__(handler, request_factory=request_factory, **kwargs)
        self._most = most
        self._checking = self._loop.call_later(CHECK_SECONDS, self._check)

    def __call__(self) -> Connection:
        """A new connection, before it is made."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Mark a connection beyond the limit: its first bytes bring a problem, not an answer."""
        super().connection_made(handler, transport)
        excess = len(self._connections) - self._most
        if excess > 0 and isinstance(handler, Connection):
            handler.is_one_too_many = True
            handler.head_since = self._loop.time()
            if excess > SPARE_CONNECTIONS:
                transport.abort()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own signature
        """Let requests in flight finish, then close."""
        self._checking.cancel()
        await super().shutdown(timeout)

    def _check(self) -> None:
        now = self._loop.time()
        for connection in self.connections:
            if isinstance(connection, Connection):
                connection.check(now)
        self._checking = self._loop.call_later(CHECK_SECONDS, self._check)


class Runner(web.AppRunner):
    """Runs an application on `Connections`."""

    def __init__(self, application: web.Application, *, most_connections: int, shutdown_seconds: float) -> None:
        super().__init__(application, access_log=None, handle_signals=False, shutdown_timeout=shutdown_seconds)
        self._most_connections = most_connections

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return Connections(
            plain.request_handler,
            request_factory=plain.request_factory,
            most=self._most_connections,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=TARGET_BYTES,
            max_field_size=HEADER_BYTES,
            **plain._kwargs,
        )


def allow_connections(most: int) -> None:
    """Raise the process's limit of open files for so many connections, as far as its hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (most + SPARE_CONNECTIONS) + OTHER_FILES
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            log.warning(
                LogAction.CONNECTIONS_LIMITED,
                "Only {allowed} files may be open; {connections} connections may need {wanted} (ulimit -n)",
                allowed=allowed,
                connections=most,
                wanted=wanted,
            )


def cancel_when_lost(request: web.Request, task: asyncio.Task[Any]) -> None:
    """Cancel a task as soon as the client that it works for has disconnected."""
    if isinstance(request.protocol, Connection):
        request.protocol.on_lost = task.cancel


def _malformed(error: BaseException | None) -> Problem:
    if isinstance(error, LineTooLong) and error.args[1] == TARGET_BYTES:
        detail = f"The path and its parameters may have {TARGET_BYTES} bytes."
        return Problem(414, "target_too_long", "Request target too long", detail)
    if isinstance(error, LineTooLong):
        return Problem(431, "header_too_large", "Header too large", f"A header may have {HEADER_BYTES} bytes.")
    return Problem(400, "malformed_request", "Not a valid HTTP request", "Its head does not conform to RFC 9112.")


def _raw(problem: Problem) -> bytes:
    """The answer as bytes, where aiohttp has no request to answer; the connection closes after it."""
    body, status = problem.body(), problem.status
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Cross-Origin-Resource-Policy: same-origin",
        "Cache-Control: no-store",
        f"Date: {formatdate(usegmt=True)}",
        "Connection: close",
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        head.append(f"Retry-After: {RETRY_AFTER_SECONDS}")
    return "\r\n".join([*head, "", ""]).encode() + body
