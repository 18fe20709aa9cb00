"""`GET /api/v1/events` of the query service: every stored event, as an audit log.

Oldest first: by position, or by the events' own times when `from` or `to` is given.
"""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import NamedTuple, get_args

import msgspec
from aiohttp import web

from headrace.access.access_log import Action
from headrace.events import rfc3339
from tables.database import READ_SECONDS, Database
from tables.history.audit_log import Filter, LoggedEvent, LogPlace, is_by_time, read_log
from tables.projections.pages import Place, Sort
from web.access.grants import limits_of
from web.access.who_did_what import WhoDidWhat
from web.query.expensive_reads import reading
from web.requests.paging import bound_to, make_cursor, read_cursor
from web.requests.query_parameters import MAX_LIMIT, QueryParameters, invalid_parameter

PATH = "/api/v1/events"
POSITION = re.compile(r"[0-9]{1,18}")
FILTERS: tuple[Filter, ...] = get_args(Filter)
BY_TIME = Sort("time", "text", descending=False)
ALLOWED = (
    f"Allowed are type, source, subject, after (a position), from and to (times of events), limit (1 to {MAX_LIMIT}) "
    "and cursor."
)

ASK_FOR_LESS = "Ask for less: a subject, a type, a span of time, a limit."

encode = msgspec.json.Encoder().encode


class LogAnswer(msgspec.Struct):
    """A page of events, and the cursor of the next page; None on the last page."""

    items: list[LoggedEvent]
    next_cursor: str | None


class LogRequest(NamedTuple):
    """The page that a client asks for."""

    limit: int
    filters: dict[Filter, str]
    after: LogPlace | None
    bound_to: bytes


class AuditLog:
    """Serves pages of the event store, each within a time limit."""

    def __init__(self, database: Database, *, log: WhoDidWhat | None = None, seconds: float = READ_SECONDS) -> None:
        """`log` records who reads."""
        self._database = database
        self._log = log or WhoDidWhat()
        self._seconds = seconds

    def routes(self) -> list[web.RouteDef]:
        """`GET /api/v1/events`."""
        return [web.get(PATH, self.page)]

    async def page(self, request: web.Request) -> web.Response:
        """A page of the events that the caller may touch, in order."""
        asked = read_request(request.rel_url.raw_query_string)
        async with reading(self._database, ask_for_less=ASK_FOR_LESS, seconds=self._seconds) as connection:
            page = await read_log(
                connection, asked.filters, after=asked.after, limit=asked.limit, grant=limits_of(request)
            )
        self._log.read(request, Action.AUDIT_LOG_READ)
        next_cursor = None if page.end is None else make_cursor(asked.bound_to, Place(*page.end))
        return web.Response(body=encode(LogAnswer(page.events, next_cursor)), content_type="application/json")


def read_request(query_string: str) -> LogRequest:
    """What a query string, still percent-encoded, asks for. Raises Problem (400) with every error."""
    parameters = QueryParameters(query_string, {*FILTERS, "limit", "cursor"}, ALLOWED)
    limit = parameters.limit()
    filters: dict[Filter, str] = {
        name: parameters.value(name, partial(_value, name), "") for name in FILTERS if name in parameters.given
    }
    parameters.check()
    bound = bound_to(PATH, parameters.given)
    return LogRequest(limit, filters, _place(parameters.given.get("cursor"), bound, filters), bound)


def _value(name: str, value: str) -> str:
    if name == "after" and not POSITION.fullmatch(value):
        raise ValueError("after is a position: a whole number, 0 or more; the events after it are listed.")
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
    # The digest is no secret: a hand-made cursor must not bring a value that the statement cannot hold.
    if POSITION.fullmatch(position) and (time is not None) == is_by_time(filters):
        with contextlib.suppress(ValueError):
            return LogPlace(time and rfc3339.to_utc(time), position)
    detail = "Not a cursor of this query. Send next_cursor as it was given, with the same filters."
    raise invalid_parameter("cursor", "invalid_cursor", detail)
