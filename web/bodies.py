"""Reading a request's body: of a known kind, within a time; its size is limited by the application."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiohttp import hdrs, web

from web.problems import problem

BODY_SECONDS = 30.0
ENCODINGS = ("", "identity", "gzip")


async def read_body(request: web.Request, kinds: Collection[str]) -> bytes | web.Response:
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
            return await request.read()
    except web.RequestPayloadError:
        detail = "It is not what Content-Encoding or Transfer-Encoding says."
        return problem(400, "unreadable_body", "The body cannot be read", detail)
    except TimeoutError:
        return problem(408, "slow_body", "The body took too long", f"Send it within {BODY_SECONDS:.0f} s.")
