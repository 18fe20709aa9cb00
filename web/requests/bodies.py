"""Reading a request's body: within a time, and not too many large ones at once."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from web.requests.content_codings import ACCEPT_ENCODING, CODINGS, UnpackedTooLargeError, UnreadableBodyError, unpack
from web.server.problems import problem, too_many

BODY_SECONDS = 30.0
JSON = "application/json"
NO_CODING = ("", "identity")
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


async def read_body(request: web.Request, budget: BodyBudget | None = None) -> bytes | web.Response:
    """The body, unpacked, or the answer that says why it cannot be had.

    Raises HTTPRequestEntityTooLarge beyond the application's limit for one body, packed or not.
    """
    name = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    coding = CODINGS.get(name)
    if coding is None and name not in NO_CODING:
        return problem(
            415,
            "unsupported_encoding",
            "Content encoding not supported",
            f"Send the body as it is, or with one of: {ACCEPT_ENCODING}.",
            headers={hdrs.ACCEPT_ENCODING: ACCEPT_ENCODING},
        )
    try:
        if request.content.is_eof():
            body: bytes | web.Response = await request.read()
        else:
            async with asyncio.timeout(BODY_SECONDS):
                body = await (budget or BodyBudget()).read(request)
        if coding is None or isinstance(body, web.Response):
            return body
        return unpack(body, coding, request.client_max_size)
    except (web.RequestPayloadError, UnreadableBodyError):
        detail = "It is not what Content-Encoding or Transfer-Encoding says."
        return problem(400, "unreadable_body", "The body cannot be read", detail)
    except UnpackedTooLargeError:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size) from None
    except TimeoutError:
        return problem(408, "slow_body", "The body took too long", f"Send it within {BODY_SECONDS:.0f} s.")


async def read_json(request: web.Request) -> bytes | web.Response:
    """As `read_body`, of a request that must be JSON; whether it is, is not looked at."""
    if request.content_type != JSON or (request.charset or "utf-8").lower() != "utf-8":
        return problem(415, "unsupported_media_type", "Media type not supported", f"Send {JSON}, in UTF-8.")
    return await read_body(request)
