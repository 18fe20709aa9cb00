"""Errors over HTTP as problems (RFC 9457), and the headers of every answer.

A view raises `Problem`; the middleware `problems` turns it into an answer, on hot paths too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

import asyncpg
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from headrace.errors import HeadraceError, TokenKeysAwayError
from headrace.events.problem_document import CONTENT_TYPE, ProblemError, problem_body
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from tables.database import ReadsBusyError, is_away
from tables.intake.disk_space import DatabaseFullError
from web.server import request_ids
from web.server.request_ids import id_of

AWAY_RETRY_AFTER_SECONDS = 2
# Then the keys of tokens may be read again.
KEYS_RETRY_AFTER_SECONDS = 5
# An operator must free space first.
FULL_RETRY_AFTER_SECONDS = 30

log = ActionLog(__name__)
throttled = ThrottledLog(log)


class Problem(HeadraceError):  # noqa: N818 - RFC 9457's word, in code and in documents
    """The request is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        errors: Sequence[ProblemError] = (),
        instance: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` are added to the answer; for the other arguments see `ProblemDetails`."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = errors
        self.instance = instance
        self.headers = headers or {}

    def body(self, request_id: str) -> bytes:
        """The document."""
        return bytes(
            problem_body(
                self.status,
                self.code,
                self.title,
                self.detail,
                errors=self.errors,
                instance=self.instance,
                request_id=request_id,
            )
        )

    def answer(self, request: web.BaseRequest) -> web.Response:
        """The response that carries the document."""
        headers = {hdrs.CONTENT_TYPE: CONTENT_TYPE, **self.headers}
        return web.Response(status=self.status, body=self.body(id_of(request)), headers=headers)


def too_many(code: str, detail: str, retry_after_seconds: int) -> Problem:
    """429: the client must wait before it sends again."""
    return Problem(429, code, "Too many events wait", detail, headers={hdrs.RETRY_AFTER: str(retry_after_seconds)})


Noted = Callable[[web.Request, Problem], None]


def answering_problems(noted: Noted) -> Middleware:
    """A middleware that answers every error with a problem.

    As raised, 4xx for aiohttp's own, 503 when PostgreSQL is away, else 500. The reason for a 500 goes to the log only;
    the id of the request finds it there. `noted` is called with each problem that a view or a middleware raised.
    """

    @web.middleware
    async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            noted(request, problem)
            return problem.answer(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return problem_of(request, error).answer(request)
        except Exception as error:  # the last resort: whatever it is, the client gets an answer and the worker lives
            if request.transport is None:
                raise  # the client is gone: its reset says nothing about the database
            if request.writer.output_size:
                raise  # the answer has begun: only a broken connection can still show that it is incomplete
            return (_away(request, error) if is_away(error) else _unexpected(request, error)).answer(request)

    return problems


def not_noted(_: web.Request, __: Problem) -> None:
    """Where nobody notes refusals."""


problems = answering_problems(not_noted)


async def common_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`."""
    set_common_headers(request, response)


def set_common_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Set the headers of every answer, and remove the banner that names the server."""
    headers = response.headers
    headers[request_ids.HEADER] = id_of(request)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    headers.popall(hdrs.SERVER, None)


def problem_of(request: web.Request, error: web.HTTPException) -> Problem:
    """The problem for an error that aiohttp raised."""
    if isinstance(error, web.HTTPNotFound):
        return Problem(404, "not_found", "Not found", "There is nothing at this path.")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = error.headers[hdrs.ALLOW]
        detail = f"{request.method} is not allowed here; allowed: {', '.join(allowed.split(','))}."
        return Problem(405, "method_not_allowed", "Method not allowed", detail, headers={hdrs.ALLOW: allowed})
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Problem(413, "too_large", "Too large", f"{(error.text or error.reason).rstrip('.')}.")
    code = error.reason.lower().replace(" ", "_")
    return Problem(error.status, code, error.reason, error.text or error.reason)


def _away(request: web.BaseRequest, error: Exception) -> Problem:
    if isinstance(error, DatabaseFullError | asyncpg.DiskFullError):
        return Problem(
            503,
            "database_full",
            "Database full",
            "The disk of the database is full. Send the same request again later.",
            headers={hdrs.RETRY_AFTER: str(FULL_RETRY_AFTER_SECONDS)},
        )
    if isinstance(error, ReadsBusyError):
        return Problem(
            503,
            "too_many_reads",
            "Too many reads",
            "Other reads keep the connections busy. Send the same request again later.",
            headers={hdrs.RETRY_AFTER: str(AWAY_RETRY_AFTER_SECONDS)},
        )
    if isinstance(error, TokenKeysAwayError):
        return Problem(
            503,
            "token_keys_away",
            "Token keys away",
            "The keys that verify tokens cannot be read now. Send the same request again later.",
            headers={hdrs.RETRY_AFTER: str(KEYS_RETRY_AFTER_SECONDS)},
        )
    text = "PostgreSQL does not answer; requests get 503: {error}"
    throttled.warning(LogAction.POSTGRES_UNAVAILABLE, text, error=type(error).__name__, request_id=id_of(request))
    return Problem(
        503,
        "database_away",
        "Database away",
        "The database does not answer now. Send the same request again later.",
        headers={hdrs.RETRY_AFTER: str(AWAY_RETRY_AFTER_SECONDS)},
    )


def _unexpected(request: web.Request, error: Exception) -> Problem:
    request_id = id_of(request)
    log.exception(
        LogAction.REQUEST_FAILED,
        "{method} {path} failed (request {request_id})",
        error,
        method=request.method,
        path=request.rel_url.raw_path,
        request_id=request_id,
    )
    return Problem(
        500,
        "internal_error",
        "Internal error",
        "Something went wrong on our side. The log has the reason under the request_id given here.",
        instance=request_ids.URN_PREFIX + request_id,
    )
