"""`Expect: 100-continue`: a client is asked for its body only when the body is read.

What can be refused without the body is refused before that, so a client does not send it in vain.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import HttpVersion11, hdrs, web

from web.server.request_ids import IdentifiedRequest

EXPECTATION = "100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ExpectingRequest(IdentifiedRequest):
    """A request whose client may wait before it sends the body."""

    continue_is_due = False
    """The client waits for `100 Continue`, or for an answer."""

    async def read(self) -> bytes:
        """The body."""
        if self.continue_is_due:
            await let_body_come(self)
        return await super().read()


def with_late_continue(routes: Iterable[web.AbstractRouteDef]) -> list[web.AbstractRouteDef]:
    """The routes without aiohttp's own `100 Continue`, which it sends before it calls a view."""
    return [
        web.route(route.method, route.path, route.handler, **{**route.kwargs, "expect_handler": _expect})
        if isinstance(route, web.RouteDef)
        else route
        for route in routes
    ]


async def let_body_come(request: web.Request) -> None:
    """Send `100 Continue` to a client that waits for it; call this before the body is read."""
    if isinstance(request, ExpectingRequest) and request.continue_is_due:
        request.continue_is_due = False
        await request.writer.write(CONTINUE)
        request.writer.output_size = 0


async def _expect(request: web.Request) -> None:
    if request.version < HttpVersion11:
        return
    if request.headers.get(hdrs.EXPECT, "").lower() != EXPECTATION:
        raise web.HTTPExpectationFailed(text="Only 100-continue can be expected.")
    if isinstance(request, ExpectingRequest):
        request.continue_is_due = True
    else:
        await request.writer.write(CONTINUE)
        request.writer.output_size = 0
