"""Reading a request's body: within a time limit, and within a memory budget for all requests together."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from web.requests.content_codings import (
    ACCEPT_ENCODING,
    CODINGS,
    MOST_RATIO,
    Coding,
    PackedTooWellError,
    UnpackedTooLargeError,
    UnreadableBodyError,
    unpack,
)
from web.server.expectations import let_body_come
from web.server.problems import Problem, too_many

BODY_SECONDS = 30.0
JSON = "application/json"
NO_CODING = ("", "identity")
SMALL_BYTES = 16_384
"""A body of this size is decompressed at once, a larger one in a thread."""
BUDGET_RETRY_AFTER_SECONDS = 2


class BodyBudget:
    """The memory for bodies that are still incomplete, of all requests together."""

    def __init__(self, max_bytes: int = 128 * 1024 * 1024) -> None:
        self.held_bytes = 0
        self._max_bytes = max_bytes

    async def read(self, request: web.Request) -> bytes:
        """The body.

        Raises Problem (429) beyond the budget, HTTPRequestEntityTooLarge beyond the application's limit for one body.
        """
        body = bytearray()
        try:
            while chunk := await request.content.readany():
                body += chunk
                self.held_bytes += len(chunk)
                if len(body) > request.client_max_size:
                    raise web.HTTPRequestEntityTooLarge(request.client_max_size)
                if self.held_bytes > self._max_bytes:
                    detail = "Too many large requests arrive at once."
                    raise too_many("too_many_bodies", detail, BUDGET_RETRY_AFTER_SECONDS)
        finally:
            self.held_bytes -= len(body)
        return bytes(body)


async def read_body(request: web.Request, budget: BodyBudget | None = None) -> bytes:
    """The body, decompressed.

    Raises Problem where it cannot be read, HTTPRequestEntityTooLarge beyond the application's limit for one body,
    compressed or not.
    """
    name = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    coding = CODINGS.get(name)
    if coding is None and name not in NO_CODING:
        raise Problem(
            415,
            "unsupported_encoding",
            "Content encoding not supported",
            f"Send the body as it is, or with one of: {ACCEPT_ENCODING}.",
            headers={hdrs.ACCEPT_ENCODING: ACCEPT_ENCODING},
        )
    try:
        if request.content.is_eof():
            body = await request.read()
        else:
            await let_body_come(request)
            async with asyncio.timeout(BODY_SECONDS):
                body = await (budget or BodyBudget()).read(request)
        return body if coding is None else await _unpacked(body, coding, request.client_max_size)
    except (web.RequestPayloadError, UnreadableBodyError):
        detail = "It does not match its Content-Encoding or Transfer-Encoding."
        raise Problem(400, "unreadable_body", "The body cannot be read", detail) from None
    except PackedTooWellError:
        detail = f"A body of more than 1 MB may be at most {MOST_RATIO} times as large as it is sent. Compress less."
        raise Problem(413, "packed_too_well", "Too large", detail) from None
    except UnpackedTooLargeError:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size) from None
    except TimeoutError:
        detail = f"Send it within {BODY_SECONDS:.0f} s."
        raise Problem(408, "slow_body", "The body took too long", detail) from None


async def _unpacked(body: bytes, coding: Coding, most_bytes: int) -> bytes:
    if len(body) <= SMALL_BYTES:
        return unpack(body, coding, most_bytes)
    return await asyncio.to_thread(unpack, body, coding, most_bytes)


async def read_json(request: web.Request) -> bytes:
    """As `read_body`, for a request whose media type must be JSON; the body itself is not parsed."""
    if request.content_type != JSON or (request.charset or "utf-8").lower() != "utf-8":
        raise Problem(415, "unsupported_media_type", "Media type not supported", f"Send {JSON}, in UTF-8.")
    return await read_body(request)
