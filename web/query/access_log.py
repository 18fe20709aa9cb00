"""`GET /api/v1/access-log`: who did what, newest first."""

from __future__ import annotations

import re
from functools import partial
from typing import get_args

import msgspec
from aiohttp import web

from headrace.access.access_log import Action
from headrace.events import rfc3339
from tables.access.access_log import NEWEST, Filter, LoggedAction, read_page
from tables.database import READ_SECONDS, Database
from tables.projections.pages import Place
from web.access.who_did_what import WhoDidWhat
from web.query.expensive_reads import reading
from web.requests.paging import bound_to, make_cursor, read_cursor
from web.requests.query_parameters import MAX_LIMIT, QueryParameters, invalid_parameter

PATH = "/api/v1/access-log"
POSITION = re.compile(r"[0-9]{1,18}")
FILTERS: tuple[Filter, ...] = get_args(Filter)
ALLOWED = f"Allowed are caller, action, from and to (times), limit (1 to {MAX_LIMIT}) and cursor."
ASK_FOR_LESS = "Ask for less: a caller, an action, a span of time, a limit."

encode = msgspec.json.Encoder().encode


class AccessLogAnswer(msgspec.Struct):
    """A page of entries, newest first, and the cursor of the next page; None on the last page."""

    items: list[LoggedAction]
    next_cursor: str | None


class AccessLogViews:
    """Serves pages of the access log, and adds to it that they were read."""

    def __init__(self, database: Database, log: WhoDidWhat, *, seconds: float = READ_SECONDS) -> None:
        self._database = database
        self._log = log
        self._seconds = seconds

    def routes(self) -> list[web.RouteDef]:
        """`GET /api/v1/access-log`."""
        return [web.get(PATH, self.page)]

    async def page(self, request: web.Request) -> web.Response:
        """A page of entries."""
        parameters = QueryParameters(request.rel_url.raw_query_string, {*FILTERS, "limit", "cursor"}, ALLOWED)
        limit = parameters.limit()
        filters: dict[Filter, str] = {
            name: parameters.value(name, partial(_value, name), "") for name in FILTERS if name in parameters.given
        }
        parameters.check()
        bound = bound_to(PATH, parameters.given)
        before = _before(parameters.given.get("cursor"), bound)
        async with reading(self._database, ask_for_less=ASK_FOR_LESS, seconds=self._seconds) as connection:
            found = await read_page(connection, filters, before=before, at_most=limit)
        self._log.read(request, Action.ACCESS_LOG_READ)
        cursor = make_cursor(bound, Place(None, str(found.entries[-1].position))) if found.more else None
        return web.Response(body=encode(AccessLogAnswer(found.entries, cursor)), content_type="application/json")


def _value(name: str, value: str) -> str:
    if name in {"from", "to"}:
        try:
            return rfc3339.to_microseconds(rfc3339.to_utc(value))
        except ValueError as error:
            raise ValueError(f"A time {error} (in a URL, + is written %2B).") from None
    if name == "action" and value not in {action.value for action in Action}:
        raise ValueError(f"The actions are {', '.join(action.value for action in Action)}.")
    return value


def _before(cursor: str | None, bound: bytes) -> int:
    if cursor is None:
        return NEWEST
    position = read_cursor(cursor, bound, None).key
    if not POSITION.fullmatch(position):
        raise invalid_parameter("cursor", "invalid_cursor", "Not a cursor.")
    return int(position)
