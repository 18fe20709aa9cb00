"""`GET /api/v1/projections/{name}/changes`: changed rows as server-sent events.

Every event has an id. A client that sends it back as `Last-Event-ID` resumes there: it receives each row that changed
after it, at least in its latest state. An event without a type has a row as data, as the row's own path answers it.
`deleted` says that a row is gone, and `reset` that the client must read all rows again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import hdrs, web

from headrace.events.problem_document import ProblemError
from headrace.folding.folding import Folding
from tables.allowed import Owners
from tables.database import Database, is_away
from tables.projections.changes import Change, Point
from web.access.credentials import CHECK_SECONDS, caller_of, still_admitted
from web.query.change_feed import ChangeFeed, Listener, Reset, TooManyListenersError
from web.query.change_points import from_text, to_text
from web.query.own_rows import is_own_change
from web.server.connections import cancel_when_lost, holding
from web.server.problems import Problem

CONTENT_TYPE = "text/event-stream"
HEADERS = {hdrs.CONTENT_TYPE: CONTENT_TYPE, "X-Accel-Buffering": "no"}
MOST_LISTENERS = 1_000
FULL_RETRY_AFTER_SECONDS = 5
HEARTBEAT_SECONDS = 15.0
AWAY_SECONDS = 1.0
"""Between two attempts to read a database that does not answer."""
SEND_SECONDS = 30.0
"""A client that reads nothing for this long is disconnected."""
MOST_BYTES_AT_ONCE = 65_536
RETRY = b"retry: 1000\n"
STOPPING = b": the server stops; reconnect with Last-Event-ID\n\n"
NOT_ADMITTED = b": the key is no longer valid\n\n"

encode = msgspec.json.Encoder().encode


class Deleted(msgspec.Struct, frozen=True):
    """The data of a `deleted` event."""

    projection: str
    key: str
    position: int
    """Of the last event of the row."""


class ResetReason(msgspec.Struct, frozen=True):
    """The data of a `reset` event."""

    projection: str
    detail: str = (
        "The point to resume from is too far back, or the projection was rebuilt. Read all rows; "
        "changes after this event's id follow."
    )


class ChangeStreams:
    """Serves the streams of all projections, from one feed."""

    def __init__(
        self,
        database: Database,
        foldings: Mapping[str, Folding[Any]],
        *,
        most_listeners: int = MOST_LISTENERS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._feed = ChangeFeed(database, foldings, most_listeners=most_listeners)
        self._heartbeat_seconds = heartbeat_seconds

    def close(self) -> None:
        """End all streams."""
        self._feed.close()

    async def stream(self, request: web.Request, projection: str, owners: Owners | None = None) -> web.StreamResponse:
        """Answer with events until the client disconnects or the worker stops; of the rows of `owners` alone."""
        since = _last_event_id(request)
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=HEADERS)
        with holding(request, caller_of(request).id) as has_room:
            if not has_room:
                raise _too_many("Half of all connections are streams or wait, or this caller has too many of them.")
            try:
                listener = await self._feed.listen(projection)
            except TooManyListenersError as error:
                raise _too_many(str(error)) from None
            try:
                stream = _Stream(
                    self._feed, projection, listener, since, heartbeat_seconds=self._heartbeat_seconds, owners=owners
                )
                return await stream.send_to(request)
            finally:
                self._feed.leave(projection, listener)


class _Stream:
    """The stream to one client."""

    def __init__(
        self,
        feed: ChangeFeed,
        projection: str,
        listener: Listener,
        since: Point | None,
        *,
        heartbeat_seconds: float,
        owners: Owners | None,
    ) -> None:
        self._feed = feed
        self._projection = projection
        self._listener = listener
        self._point = since or listener.start
        """The client has every change up to it."""
        self._heartbeat_seconds = heartbeat_seconds
        self._owners = owners
        self._written_at = 0.0
        self._floor: Point | None = None
        """Set while waiting changes may be older than what the client has."""
        listener.is_behind = since is not None

    async def send_to(self, request: web.Request) -> web.StreamResponse:
        """Send events until the client disconnects or is no longer admitted, or the worker stops."""
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        sending = asyncio.create_task(self._send(response))
        cancel_when_lost(request, sending)
        try:
            while (await asyncio.wait([sending], timeout=CHECK_SECONDS))[1]:
                if not await still_admitted(request):
                    sending.cancel()
                    await asyncio.wait([sending])
                    sending = asyncio.create_task(self._write(response, NOT_ADMITTED))
                    await asyncio.wait([sending])
                    break
        finally:
            sending.cancel()
        if not sending.cancelled() and (error := sending.exception()) is not None:
            if not isinstance(error, ConnectionError | TimeoutError):
                raise error
            # The client is gone or does not read: an error would reach nobody.
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _send(self, response: web.StreamResponse) -> None:
        await self._write(response, RETRY + self._heartbeat())
        while not self._listener.is_over:
            if self._listener.is_behind:
                await self._catch_up(response)
            elif taken := await self._listener.take(self._heartbeat_seconds):
                await self._tell(response, taken)
            elif not self._listener.is_over and not self._listener.is_behind:
                self._rest()
                await self._write(response, self._heartbeat())
        await self._write(response, STOPPING)

    async def _catch_up(self, response: web.StreamResponse) -> None:
        """Send the changes between the client's point and now; newer changes wait in the listener."""
        self._listener.catch_up()
        self._floor = None
        is_all = False
        while not is_all and not self._listener.is_over:
            try:
                changes = await self._feed.catch_up(self._projection, self._point)
            except Exception as error:
                if not is_away(error):
                    raise
                await self._write(response, self._heartbeat())
                await asyncio.sleep(AWAY_SECONDS)
                continue
            is_all = changes.is_all
            if changes.is_reset:
                await self._tell(response, [Reset(changes.point)])
            await self._tell(response, changes.changes)
            self._point = changes.point
        self._floor = self._point

    async def _tell(self, response: web.StreamResponse, news: Sequence[Change | Reset]) -> None:
        block: list[bytes] = []
        size = 0
        for one in news:
            if (event := self._event(one)) is None:
                continue
            block.append(event)
            size += len(event)
            if size > MOST_BYTES_AT_ONCE:
                await self._write(response, b"".join(block))
                block, size = [], 0
        if block:
            await self._write(response, b"".join(block))
        elif asyncio.get_running_loop().time() > self._written_at + self._heartbeat_seconds:
            await self._write(response, self._heartbeat())  # others' rows alone have changed for long

    def _event(self, one: Change | Reset) -> bytes | None:
        """A change as a server-sent event; None when the client already has it, or may not read the row."""
        if isinstance(one, Reset):
            self._floor, self._point = None, one.point
            return _block(one.point, b"event: reset\n", encode(ResetReason(self._projection)))
        if self._floor is None:
            self._point = one.point
        elif self._floor.is_at_or_after(one.events):
            return None
        else:
            self._point = self._point.merged(one.point)
            if one.point.is_at_or_after(self._floor):
                self._floor = None
        if self._owners is not None and not is_own_change(self._owners, one):
            return None
        if one.row is None:
            return _block(self._point, b"event: deleted\n", encode(Deleted(self._projection, one.key, one.position)))
        return _block(self._point, b"", encode(one.row))

    def _rest(self) -> None:
        """No changes wait: move the client's point to that of the feed, although no row changed."""
        seen = self._feed.point(self._projection)
        if seen.follows(self._point):
            self._floor, self._point = None, seen

    def _heartbeat(self) -> bytes:
        """A comment, and the point: a browser dispatches no event without data, but keeps its id."""
        return b": \nid: " + to_text(self._point).encode() + b"\n\n"

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await response.write(data)
        self._written_at = asyncio.get_running_loop().time()


def _too_many(detail: str) -> Problem:
    headers: dict[str, str] = {hdrs.RETRY_AFTER: str(FULL_RETRY_AFTER_SECONDS)}
    return Problem(503, "too_many_streams", "Too many streams", detail, headers=headers)


def _last_event_id(request: web.Request) -> Point | None:
    """The point to resume from; None at the first request. Raises Problem (400)."""
    text = request.headers.get("Last-Event-ID", "").strip()
    try:
        return from_text(text) if text else None
    except ValueError:
        detail = "Last-Event-ID must be the id of an event of this stream, as it was sent."
        error = ProblemError(code="invalid_last_event_id", detail=detail)
        raise Problem(400, "invalid_last_event_id", "Last-Event-ID not valid", detail, errors=[error]) from None


def _block(point: Point, kind: bytes, data: bytes) -> bytes:
    return b"".join((b"id: ", to_text(point).encode(), b"\n", kind, b"data: ", data, b"\n\n"))
