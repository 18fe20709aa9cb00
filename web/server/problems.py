"""Errors over HTTP, as problems (RFC 9457), and the headers that every answer carries."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import asyncpg
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from headrace.events.problem_document import CONTENT_TYPE, ProblemError, problem_body
from headrace.process.throttled_log import ThrottledLog
from tables.database import is_away
from tables.intake.disk_space import DatabaseFullError

AWAY_RETRY_AFTER_SECONDS = 2
# Somebody must make room.
FULL_RETRY_AFTER_SECONDS = 30

log = logging.getLogger(__name__)
throttled = ThrottledLog(log)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[ProblemError] = (),
    instance: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An answer that is a problem; see `problem_body`."""
    return web.Response(
        status=status,
        body=bytes(problem_body(status, code, title, detail, errors=errors, instance=instance)),
        headers={hdrs.CONTENT_TYPE: CONTENT_TYPE, **(headers or {})},
    )


def too_many(code: str, detail: str, retry_after_seconds: int) -> web.Response:
    """The answer to a request that comes too early: 429."""
    return problem(429, code, "Too many events wait", detail, headers={hdrs.RETRY_AFTER: str(retry_after_seconds)})


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem: 4xx as aiohttp raised it, 503 when PostgreSQL is away, else 500.

    What went wrong inside is told to the log alone; the answer has an id that finds it there.
    """
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return refused(request, error)
    except Exception as error:  # the last resort: whatever it is, the client gets an answer and the worker lives
        if request.transport is None:
            raise  # the client is gone, and its reset is not the database's
        if request.writer.output_size:
            raise  # an answer has begun, and only a broken connection can still say that it is not whole
        return _away(error) if is_away(error) else _unexpected(request)


async def common_headers(_: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`."""
    set_common_headers(response)


def set_common_headers(response: web.StreamResponse) -> None:
    """Headers that every answer carries, and no banner that names what serves it."""
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    headers.popall(hdrs.SERVER, None)


def refused(request: web.Request, error: web.HTTPException) -> web.Response:
    """What aiohttp refuses, as a problem."""
    if isinstance(error, web.HTTPNotFound):
        return problem(404, "not_found", "Not found", "There is nothing at this path.")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = error.headers[hdrs.ALLOW]
        detail = f"{request.method} is not allowed here; allowed: {', '.join(allowed.split(','))}."
        return problem(405, "method_not_allowed", "Method not allowed", detail, headers={hdrs.ALLOW: allowed})
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return problem(413, "too_large", "Too large", f"{(error.text or error.reason).rstrip('.')}.")
    code = error.reason.lower().replace(" ", "_")
    return problem(error.status, code, error.reason, error.text or error.reason)


def _away(error: Exception) -> web.Response:
    if isinstance(error, DatabaseFullError | asyncpg.DiskFullError):
        return problem(
            503,
            "database_full",
            "Database full",
            "The disk of the database is full. Send the same request again later.",
            headers={hdrs.RETRY_AFTER: str(FULL_RETRY_AFTER_SECONDS)},
        )
    throttled.warning("PostgreSQL does not answer (%s); requests get 503.", type(error).__name__)
    return problem(
        503,
        "database_away",
        "Database away",
        "The database does not answer now. Send the same request again later.",
        headers={hdrs.RETRY_AFTER: str(AWAY_RETRY_AFTER_SECONDS)},
    )


def _unexpected(request: web.Request) -> web.Response:
    instance = uuid.uuid4().urn
    log.exception("%s %s failed (%s)", request.method, request.rel_url.raw_path, instance)
    return problem(
        500,
        "internal_error",
        "Internal error",
        "Something went wrong on our side. The log has the reason under the instance given here.",
        instance=instance,
    )
