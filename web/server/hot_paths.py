"""The most frequent requests bypass aiohttp's routing: an event that is posted, and a row that is read.

Resolving the route, its match_info and the signals are about 10 of the 50 µs that aiohttp spends on a request; see
docs/performance.md. All other requests are routed as usual, with the same answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiohttp import hdrs, web

from headrace.access.caller import ANYBODY, Caller
from web.server.expectations import ExpectingRequest
from web.server.guard import NO_HEADERS, Guard
from web.server.problems import set_common_headers
from web.server.request_times import UNMATCHED

View = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HotPath(NamedTuple):
    """A view, and the test of the path, as sent, for requests that it answers."""

    method: str
    route: str
    """The name of the ordinary route."""
    is_meant: Callable[[str], object]
    """True only for paths without a query string."""
    view: View
    """Must not use `request.match_info` or `request.app`."""


class HotRequest(ExpectingRequest):
    """A request that may have no match_info."""

    hot_route: str | None = None
    guard_headers: Mapping[str, str] = NO_HEADERS
    """What the guard adds to the answer."""
    caller: Caller = ANYBODY
    """Who sent it; for web/access/credentials.py, as is `gate`. Attributes are cheaper than the request's mapping."""
    gate: Any = None

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        if self.guard_headers:
            response.headers.extend(self.guard_headers)
        if self._match_info is None:
            set_common_headers(self, response)
        else:
            await super()._prepare_hook(response)


def take_short_cuts(
    server: web.Server, application: web.Application, hot_paths: Sequence[HotPath], guard: Guard | None = None
) -> None:
    """Let `server` call the views of these paths through the application's middlewares, and route other requests.

    `guard` sees every request first.
    """
    handle: Any = server.request_handler
    guard = guard or Guard()
    ways = [
        (path.method, path.is_meant, path.route, _through_middlewares(application, path.view, path))
        for path in hot_paths
    ]

    async def handle_hot_first(request: HotRequest) -> web.StreamResponse:
        request.guard_headers = guard.headers(request)
        if (refusal := guard.refusal(request)) is not None:
            if hdrs.EXPECT in request.headers:
                refusal.force_close()  # nobody knows whether the body follows
            return refusal
        length = request.headers.get(hdrs.CONTENT_LENGTH)
        if length is not None and int(length) > request.client_max_size:
            return await _refused(request, application, web.HTTPRequestEntityTooLarge(request.client_max_size))
        if hdrs.EXPECT in request.headers:
            return await _answer_expecting(request, application, handle)
        method, path = request.method, request.raw_path
        for hot_method, is_meant, route, view in ways:
            if method == hot_method and is_meant(path):
                request.hot_route = route
                return await view(request)
        answer: web.StreamResponse = await handle(request)
        return answer

    server.request_handler = handle_hot_first  # type: ignore[assignment]  # the factory below makes the requests that it accepts
    server.request_factory = partial(server.request_factory, _cls=HotRequest)  # type: ignore[call-arg]


async def _answer_expecting(
    request: HotRequest, application: web.Application, handle: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer a client that waits before it sends the body. If the body is not asked for, the connection closes."""
    found = await application.router.resolve(request)
    if found.http_exception is not None:
        return await _refused(request, application, found.http_exception)
    answer = await handle(request)
    if request.continue_is_due:
        answer.force_close()
    return answer


async def _refused(request: HotRequest, application: web.Application, error: web.HTTPException) -> web.StreamResponse:
    """The answer from the head alone: nobody needs to send the body. It is the last one on its connection.

    It passes through the middlewares, because a client that is not admitted learns nothing else.
    """

    async def refuse(_: web.Request) -> web.StreamResponse:
        raise error

    request.hot_route = UNMATCHED
    answer = await _through_middlewares(application, refuse)(request)
    answer.force_close()
    return answer


def _through_middlewares(application: web.Application, view: View, path: HotPath | None = None) -> View:
    """The view inside the middlewares. For a hot path, a middleware with `around` gets the route once."""
    for middleware in reversed(application.middlewares):
        around = getattr(middleware, "around", None)
        if path is None or around is None:
            view = partial(middleware, handler=view)
        else:
            view = around(path.method, path.route, view)
    return view
