"""Parked events over HTTP: what waits and why; retry and discard. All of it is for operators: one prefix to guard.

A page elsewhere cannot make a browser post here: a body must be application/json, which browsers ask for leave to
send, and nothing gives that leave.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from aiohttp import web

from headrace.events.problem_document import ProblemError
from headrace.folding.parked_groups import Group, NotFirstError, NotParkedError, ParkedOutcome, Parking
from tables.database import Database
from tables.parked import parked_list
from tables.parked.parked_list import BEGINNING, After, ParkedGroup
from tables.projections.pages import Place
from web.requests.bodies import read_json
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

PATH = "/api/v1/parked"
JSON = "application/json"
PARAMETERS = frozenset({"limit", "cursor", "projection", "key"})
ALLOWED = "Allowed are limit, cursor, projection and key."
POSITION = re.compile(r"[0-9]{1,18}")
MOST_REASON_CHARACTERS = 1_000

encode = msgspec.json.Encoder().encode
ReasonText = msgspec.Meta(min_length=1, max_length=MOST_REASON_CHARACTERS)


class ParkedAnswer(msgspec.Struct):
    """Groups of parked events, and the cursor of the next page; None at the end."""

    items: Sequence[ParkedGroup]
    next_cursor: str | None


class RetryBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to retry: exactly one of these."""

    key: str | None = None
    partition_key: str | None = None
    all: bool = False

    @property
    def group(self) -> Group | None:
        """None for all. Raises ValueError."""
        if [self.key is not None, self.partition_key is not None, self.all].count(True) != 1:
            raise ValueError('Give one of "key", "partition_key" and "all": true.')
        return None if self.all else _group(self.key, self.partition_key)


class DiscardBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to go on without, and why: the first event of a group by its position, or all of a group."""

    reason: str
    position: int | None = None
    key: str | None = None
    partition_key: str | None = None

    @property
    def what(self) -> Group | int:
        """Raises ValueError."""
        if not 1 <= len(self.reason.strip()) <= MOST_REASON_CHARACTERS or not _is_text(self.reason):
            raise ValueError(f"The reason is a text of 1 to {MOST_REASON_CHARACTERS} characters.")
        if [self.position is not None, self.key is not None, self.partition_key is not None].count(True) != 1:
            raise ValueError('Give one of "position", "key" and "partition_key".')
        if self.position is None:
            return _group(self.key, self.partition_key)
        if not 0 < self.position < 10**18:
            raise ValueError("The position is a whole number, 1 or more.")
        return self.position


# msgspec's words for it, with the member's name: no answer repeats what was sent.
_UNKNOWN_MEMBER = re.compile(r"unknown field `.*`", re.DOTALL)
_retry_decoder = msgspec.json.Decoder(RetryBody)
_discard_decoder = msgspec.json.Decoder(DiscardBody)


def parked_routes(database: Database, projections: Sequence[str], parking: Parking) -> list[web.RouteDef]:
    """The routes; their application needs the middleware `problems`."""
    views = _Views(database, projections, parking)
    return [
        web.get(PATH, views.page),
        web.get(PATH + r"/{projection}/{position:[0-9]{1,18}}", views.one),
        web.post(PATH + "/{projection}/retry", views.retry),
        web.post(PATH + "/{projection}/discard", views.discard),
    ]


class _Views:
    def __init__(self, database: Database, projections: Sequence[str], parking: Parking) -> None:
        self._database = database
        self._projections = projections
        self._parking = parking

    async def page(self, request: web.Request) -> web.Response:
        """The first event of each group, in order of projection and position."""
        try:
            given, limit, bound, after = _read_query(request.rel_url.raw_query_string)
        except InvalidQueryError as error:
            return problem(
                400, "invalid_query", "Query not valid", "See errors for what is wrong.", errors=error.errors
            )
        async with self._database.acquire() as connection:
            found = await parked_list.first_of_groups(
                connection,
                projection=given.get("projection"),
                key=given.get("key"),
                after=after,
                at_most=limit + 1,
            )
        items = found[:limit]
        more = len(found) > limit
        cursor = make_cursor(bound, Place(None, f"{items[-1].projection} {items[-1].position}")) if more else None
        return web.Response(body=encode(ParkedAnswer(items, cursor)), content_type=JSON)

    async def one(self, request: web.Request) -> web.Response:
        """One parked event, with its envelope."""
        projection, position = request.match_info["projection"], int(request.match_info["position"])
        found = None
        if projection in self._projections:
            async with self._database.acquire() as connection:
                found = await parked_list.find(connection, projection, position)
        if found is None:
            detail = "There is no such projection, or no event is parked in it at this position."
            return problem(404, "not_parked", "Not parked", detail)
        return web.Response(body=encode(found), content_type=JSON)

    async def retry(self, request: web.Request) -> web.Response:
        """Apply what is parked, in order, as far as it goes."""
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        try:
            group = _retry_decoder.decode(body).group
        except ValueError as error:
            return _invalid_body(error)
        projection = request.match_info["projection"]
        if projection not in self._projections:
            return self._unknown_projection()
        try:
            return _answer(await self._parking.retry(projection, group))
        except NotParkedError as error:
            return problem(404, "not_parked", "Not parked", str(error))

    async def discard(self, request: web.Request) -> web.Response:
        """Go on without what is parked."""
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        try:
            asked = _discard_decoder.decode(body)
            what = asked.what
        except ValueError as error:
            return _invalid_body(error)
        projection = request.match_info["projection"]
        if projection not in self._projections:
            return self._unknown_projection()
        by = f"the API's caller at {request.remote}"
        try:
            return _answer(await self._parking.discard(projection, what, reason=asked.reason.strip(), by=by))
        except NotParkedError as error:
            return problem(404, "not_parked", "Not parked", str(error))
        except NotFirstError as error:
            return problem(409, "not_first", "Another event is before it", str(error))

    def _unknown_projection(self) -> web.Response:
        detail = f"There is no projection of this name; there are {', '.join(self._projections) or 'none'}."
        return problem(404, "unknown_projection", "Projection not found", detail)


def _read_query(query_string: str) -> tuple[dict[str, str], int, bytes, After]:
    """The parameters, the limit, what the cursor is bound to, and where to begin. Raises InvalidQueryError."""
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
    bound = bound_to("/parked", given)
    if "cursor" not in given:
        return given, limit, bound, BEGINNING
    projection, _, position = read_cursor(given["cursor"], bound, None).key.rpartition(" ")
    if not POSITION.fullmatch(position):
        raise InvalidQueryError([ProblemError(parameter="cursor", code="invalid_cursor", detail="Not a cursor.")])
    return given, limit, bound, After(projection, int(position))


def _group(key: str | None, partition_key: str | None) -> Group:
    text = (key if partition_key is None else partition_key) or ""
    if not _is_text(text):
        raise ValueError("A key has no NUL character.")
    return Group(text, key_is_known=partition_key is None)


def _is_text(text: str) -> bool:
    """Whether PostgreSQL can take it; msgspec lets no lone surrogate through."""
    return "\0" not in text


def _answer(outcome: ParkedOutcome) -> web.Response:
    return web.Response(body=encode(outcome), content_type=JSON)


def _invalid_body(error: ValueError) -> web.Response:
    detail = _UNKNOWN_MEMBER.sub("unknown member", str(error))
    return problem(400, "invalid_body", "Body not valid", f"{detail.rstrip('.')}.")
