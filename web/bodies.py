"""Reading a request's body: of a known kind, within a time, and not too many large ones at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiohttp import hdrs, web

from web.problems import problem, too_many

BODY_SECONDS = 30.0
ENCODINGS = ("", "identity", "gzip")
BUDGET_RETRY_AFTER_SECONDS = 2


class BodyBudget:
    """The memory of bodies that have begun to come and are not whole yet, of all requests together."""

    def __init__(self, max_bytes: int = 128 * 1024 * 1024) -> None:
        self.held_bytes = 0
        self._max_bytes = max_bytes

    async def read(self, request: web.Request) -> bytes | web.Response:
        """The body; 429 when it would go beyond the budget.

        Raises HTTPRequestEntityTooLarge beyond the application's limit for one body.
        """
        body = bytearray()
        try:
            while chunk := await request.content.readany():
                body += chunk
                self.held_bytes += len(chunk)
                if len(body) > request.client_max_size:
                    raise web.HTTPRequestEntityTooLarge(request.client_max_size)
                if self.held_bytes > self._max_bytes:
                    detail = "Too many large requests come at once."
                    return too_many("too_many_bodies", detail, BUDGET_RETRY_AFTER_SECONDS)
        finally:
            self.held_bytes -= len(body)
        return bytes(body)


async def read_body(
    request: web.Request, kinds: Collection[str], budget: BodyBudget | None = None
) -> bytes | web.Response:
    """The body, unpacked, if its media type is one of `kinds`; else the answer that says why not."""
    if request.content_type not in kinds or (request.charset or "utf-8").lower() != "utf-8":
        return problem(415, "unsupported_media_type", "Media type not supported", f"Send {', '.join(kinds)}, in UTF-8.")
    if request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in ENCODINGS:
        return problem(
            415, "unsupported_encoding", "Content encoding not supported", "Send the body as it is, or with gzip."
        )
    try:
        if request.content.is_eof():
            return await request.read()
        async with asyncio.timeout(BODY_SECONDS):
            return await (budget or BodyBudget()).read(request)
    except web.RequestPayloadError:
        detail = "It is not what Content-Encoding or Transfer-Encoding says."
        return problem(400, "unreadable_body", "The body cannot be read", detail)
    except TimeoutError:
        return problem(408, "slow_body", "The body took too long", f"Send it within {BODY_SECONDS:.0f} s.")
