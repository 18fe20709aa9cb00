"""`GET /api/v1/dead-letters`: messages of devices that were refused, the newest first. For operators."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from headrace.events.problem_document import ProblemError
from tables.database import Database
from tables.intake import dead_letters
from tables.intake.dead_letters import NEWEST_NUMBER, DeadLetter
from tables.projections.pages import Place
from web.requests.paging import (
    DEFAULT_LIMIT,
    InvalidQueryError,
    bound_to,
    make_cursor,
    name_errors,
    read_cursor,
    read_limit,
    read_pairs,
)
from web.server.problems import problem

PATH = "/api/v1/dead-letters"
JSON = "application/json"
PARAMETERS = frozenset({"limit", "cursor"})
ALLOWED = "Allowed are limit and cursor."

encode = msgspec.json.Encoder().encode


class DeadLettersAnswer(msgspec.Struct):
    """A page, and the cursor of the next one; None at the end."""

    items: Sequence[DeadLetter]
    next_cursor: str | None


def dead_letter_routes(database: Database) -> list[web.RouteDef]:
    """The route; its application needs the middleware `problems`."""

    async def page(request: web.Request) -> web.Response:
        try:
            limit, bound, before = _read_query(request.rel_url.raw_query_string)
        except InvalidQueryError as error:
            return problem(
                400, "invalid_query", "Query not valid", "See errors for what is wrong.", errors=error.errors
            )
        async with database.acquire() as connection:
            found = await dead_letters.newest(connection, before=before, at_most=limit + 1)
        items = found[:limit]
        cursor = make_cursor(bound, Place(None, str(items[-1].number))) if len(found) > limit else None
        return web.Response(body=encode(DeadLettersAnswer(items, cursor)), content_type=JSON)

    return [web.get(PATH, page)]


def _read_query(query_string: str) -> tuple[int, bytes, int]:
    """The limit, what the cursor is bound to, and the number to go on before. Raises InvalidQueryError."""
    pairs = read_pairs(query_string)
    errors = [*name_errors(pairs, PARAMETERS, ALLOWED)]
    given = dict(pairs)
    limit = DEFAULT_LIMIT
    try:
        limit = read_limit(given["limit"]) if "limit" in given else DEFAULT_LIMIT
    except ValueError as error:
        errors.append(ProblemError(parameter="limit", code="invalid_value", detail=str(error)))
    if errors:
        raise InvalidQueryError(errors)
    # No projection has a name with a slash.
    bound = bound_to("/dead-letters", given)
    if "cursor" not in given:
        return limit, bound, NEWEST_NUMBER
    number = read_cursor(given["cursor"], bound, None).key
    if not number.isdecimal() or int(number) > NEWEST_NUMBER:
        raise InvalidQueryError([ProblemError(parameter="cursor", code="invalid_cursor", detail="Not a cursor.")])
    return limit, bound, int(number)
