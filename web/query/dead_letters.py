"""`GET /api/v1/dead-letters`: refused device messages, newest first. For operators."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from headrace.access.grant import Allowed
from tables.database import Database
from tables.intake import dead_letters
from tables.intake.dead_letters import NEWEST_NUMBER, DeadLetter
from tables.projections.pages import Place
from web.access.grants import limits_of, not_yours
from web.query.expensive_reads import reading
from web.requests.paging import bound_to, make_cursor, read_cursor
from web.requests.query_parameters import QueryParameters, invalid_parameter

PATH = "/api/v1/dead-letters"
JSON = "application/json"
PARAMETERS = frozenset({"limit", "cursor"})
ALLOWED = "Allowed are limit and cursor."
ASK_FOR_LESS = "Ask for fewer, with limit."

encode = msgspec.json.Encoder().encode


class DeadLettersAnswer(msgspec.Struct):
    """A page of dead letters, and the cursor of the next page; None on the last page."""

    items: Sequence[DeadLetter]
    next_cursor: str | None


def dead_letter_routes(database: Database) -> list[web.RouteDef]:
    """`GET /api/v1/dead-letters`; the application needs the middleware `problems`."""

    async def page(request: web.Request) -> web.Response:
        devices = _devices(request)
        limit, bound, before = _read_query(request.rel_url.raw_query_string)
        async with reading(database, ask_for_less=ASK_FOR_LESS) as connection:
            found = await dead_letters.newest(connection, before=before, at_most=limit, devices=devices)
        cursor = make_cursor(bound, Place(None, str(found.letters[-1].number))) if found.more else None
        return web.Response(body=encode(DeadLettersAnswer(found.letters, cursor)), content_type=JSON)

    return [web.get(PATH, page)]


def _devices(request: web.Request) -> Allowed | None:
    """The devices whose messages the caller may read; None: all. Raises Problem (403) if that is unknown.

    The topic names the device, which is the subject of its events. A message that is no event has no source or type.
    """
    limits = limits_of(request)
    if limits is not None and (limits.sources is not None or limits.types is not None):
        detail = (
            "Refused messages have no source or type that could be relied on, so a key that is limited to some of them "
            "may not read them. Use a key that is limited by subjects only: they are the devices."
        )
        raise not_yours(detail)
    return None if limits is None else limits.subjects


def _read_query(query_string: str) -> tuple[int, bytes, int]:
    """The limit, what the cursor is bound to, and the number before which the page begins. Raises Problem (400)."""
    parameters = QueryParameters(query_string, PARAMETERS, ALLOWED)
    limit = parameters.limit()
    parameters.check()
    given = parameters.given
    bound = bound_to("/dead-letters", given)
    if "cursor" not in given:
        return limit, bound, NEWEST_NUMBER
    number = read_cursor(given["cursor"], bound, None).key
    if not number.isdecimal() or int(number) > NEWEST_NUMBER:
        raise invalid_parameter("cursor", "invalid_cursor", "Not a cursor.")
    return limit, bound, int(number)
