"""`GET /api/v1/events` of the query service: every event that was stored, as an audit log.

Oldest first: in order of position, and with `from` or `to`, which are about the events' own times, in order of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import NamedTuple, get_args

import msgspec
from aiohttp import web

from headrace.events import rfc3339
from headrace.events.problem_document import ProblemError
from tables.database import Database
from tables.history.audit_log import Filter, LoggedEvent, LogPlace, is_by_time, read_log
from tables.projections.pages import Place, Sort
from web.requests.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    InvalidQueryError,
    bound_to,
    make_cursor,
    name_errors,
    read_cursor,
    read_limit,
    read_pairs,
)
from web.server.problems import problem

PATH = "/api/v1/events"
SECONDS = 4.0
"""For one page; less than the timeout of a statement."""
POSITION = re.compile(r"[0-9]{1,18}")
FILTERS: tuple[Filter, ...] = get_args(Filter)
BY_TIME = Sort("time", "text", descending=False)
ALLOWED = (
    f"Allowed are type, source, subject, after (a position), from and to (times of events), limit (1 to {MAX_LIMIT}) "
    "and cursor."
)

encode = msgspec.json.Encoder().encode


class LogAnswer(msgspec.Struct):
    """Some events, and the cursor of the next page; None at the end."""

    items: list[LoggedEvent]
    next_cursor: str | None


class LogRequest(NamedTuple):
    """What page is asked for."""

    limit: int
    filters: dict[Filter, str]
    after: LogPlace | None
    bound_to: bytes


class AuditLog:
    """The view."""

    def __init__(self, database: Database, *, seconds: float = SECONDS) -> None:
        self._database = database
        self._seconds = seconds

    def routes(self) -> list[web.RouteDef]:
        """The one route."""
        return [web.get(PATH, self.page)]

    async def page(self, request: web.Request) -> web.Response:
        """Some events, in order."""
        try:
            asked = read_request(request.rel_url.raw_query_string)
        except InvalidQueryError as error:
            return problem(
                400, "invalid_query", "Query not valid", "See errors for what is wrong.", errors=error.errors
            )
        time = asyncio.timeout(self._seconds)
        try:
            async with time, self._database.acquire() as connection:
                page = await read_log(connection, asked.filters, after=asked.after, limit=asked.limit)
        except TimeoutError:
            if not time.expired():
                raise
            detail = (
                f"It needs more than {self._seconds:g} s. Ask for less: a subject, a type, a span of time, a limit."
            )
            return problem(503, "query_too_long", "The query takes too long", detail)
        next_cursor = None if page.end is None else make_cursor(asked.bound_to, Place(*page.end))
        return web.Response(body=encode(LogAnswer(page.events, next_cursor)), content_type="application/json")


def read_request(query_string: str) -> LogRequest:
    """What a query string, still percent-encoded, asks for. Raises InvalidQueryError with everything that is wrong."""
    pairs = read_pairs(query_string)
    errors = list(name_errors(pairs, {*FILTERS, "limit", "cursor"}, ALLOWED))
    given = dict(pairs)
    limit, filters = DEFAULT_LIMIT, {}
    for name, value in given.items():
        try:
            if name == "limit":
                limit = read_limit(value)
            elif name in FILTERS:
                filters[name] = _value(name, value)
        except ValueError as error:
            errors.append(ProblemError(parameter=name, code="invalid_value", detail=str(error)))
    if errors:
        raise InvalidQueryError(errors)
    bound = bound_to(PATH, given)
    return LogRequest(limit, filters, _place(given.get("cursor"), bound, filters), bound)


def _value(name: str, value: str) -> str:
    if name == "after" and not POSITION.fullmatch(value):
        raise ValueError("after is a position: a whole number, 0 or more; events after it are told.")
    if name in {"from", "to"}:
        try:
            return rfc3339.to_microseconds(rfc3339.to_utc(value))
        except ValueError as error:
            raise ValueError(f"A time {error} (in a URL, + is written %2B).") from None
    return value


def _place(cursor: str | None, bound: bytes, filters: dict[Filter, str]) -> LogPlace | None:
    if cursor is None:
        return None
    time, position = read_cursor(cursor, bound, BY_TIME if is_by_time(filters) else None)
    # The digest of a cursor is no secret: what a hand-made one could do to the statement is looked at.
    if POSITION.fullmatch(position) and (time is not None) == is_by_time(filters):
        with contextlib.suppress(ValueError):
            return LogPlace(time and rfc3339.to_utc(time), position)
    detail = "Not a cursor of this query. Send next_cursor as it was given, with the same filters."
    raise InvalidQueryError([ProblemError(parameter="cursor", code="invalid_cursor", detail=detail)])
