"""Answers as bytes, where aiohttp has no request to answer; the connection closes after them."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from aiohttp.http_exceptions import LineTooLong

from headrace.events.problem_document import CONTENT_TYPE
from web.server.problems import Problem
from web.server.request_ids import HEADER, new_id

TARGET_BYTES = 8_192
HEADER_BYTES = 8_190
"""Differs from TARGET_BYTES: aiohttp's error names only the limit, which shows what is too long."""
RETRY_AFTER_SECONDS = 1


def malformed(error: BaseException | None) -> Problem:
    """The problem of a head that cannot be read."""
    if isinstance(error, LineTooLong) and error.args[1] == TARGET_BYTES:
        detail = f"The path and its parameters may have {TARGET_BYTES} bytes."
        return Problem(414, "target_too_long", "Request target too long", detail)
    if isinstance(error, LineTooLong):
        return Problem(431, "header_too_large", "Header too large", f"A header may have {HEADER_BYTES} bytes.")
    return Problem(400, "malformed_request", "Not a valid HTTP request", "Its head does not conform to RFC 9112.")


def raw(problem: Problem) -> bytes:
    """The answer."""
    request_id = new_id()
    body, status = problem.body(request_id), problem.status
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        f"{HEADER}: {request_id}",
        "X-Content-Type-Options: nosniff",
        "Cross-Origin-Resource-Policy: same-origin",
        "Cache-Control: no-store",
        f"Date: {formatdate(usegmt=True)}",
        "Connection: close",
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        head.append(f"Retry-After: {RETRY_AFTER_SECONDS}")
    return "\r\n".join([*head, "", ""]).encode() + body
