"""Parked events over HTTP: list, retry and discard. For operators; all paths share one prefix that a proxy can guard.

Another site cannot make a browser post here: the body must be application/json, for which browsers send a CORS
preflight first, and no answer allows it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec
from aiohttp import web

from headrace.access.access_log import Action
from headrace.folding.parked_groups import (
    Group,
    NotFirstError,
    NotParkedError,
    NotPermittedError,
    ParkedOutcome,
    Parking,
    counts_of,
)
from tables.database import Database
from tables.parked import parked_list
from tables.parked.parked_list import BEGINNING, After, ParkedGroup
from tables.projections.pages import Place
from web.access.grants import limits_of
from web.access.who_did_what import WhoDidWhat
from web.query.error_texts import ErrorTexts
from web.query.expensive_reads import reading
from web.requests.bodies import read_json
from web.requests.paging import bound_to, make_cursor, read_cursor
from web.requests.query_parameters import QueryParameters, invalid_parameter
from web.server.problems import Problem

PATH = "/api/v1/parked"
JSON = "application/json"
PARAMETERS = frozenset({"limit", "cursor", "projection", "key"})
ALLOWED = "Allowed are limit, cursor, projection and key."
POSITION = re.compile(r"[0-9]{1,18}")
ASK_FOR_LESS = "Ask for a projection or a key, or for fewer, with limit."
MOST_REASON_CHARACTERS = 1_000

encode = msgspec.json.Encoder().encode


class ParkedAnswer(msgspec.Struct):
    """A page of groups of parked events, and the cursor of the next page; None on the last page."""

    items: Sequence[ParkedGroup]
    next_cursor: str | None


class RetryBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to retry: exactly one of these members is given."""

    key: str | None = None
    partition_key: str | None = None
    all: bool = False

    @property
    def group(self) -> Group | None:
        """The group to retry; None for all. Raises ValueError unless exactly one member is given."""
        if [self.key is not None, self.partition_key is not None, self.all].count(True) != 1:
            raise ValueError('Give one of "key", "partition_key" and "all": true.')
        return None if self.all else _group(self.key, self.partition_key)


class DiscardBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to discard, and why: the first event of a group, by its position, or a whole group."""

    reason: str
    position: int | None = None
    key: str | None = None
    partition_key: str | None = None

    @property
    def what(self) -> Group | int:
        """The group, or the position of an event. Raises ValueError with what the body must have."""
        if not 1 <= len(self.reason.strip()) <= MOST_REASON_CHARACTERS or not _is_text(self.reason):
            raise ValueError(f"The reason is a string of 1 to {MOST_REASON_CHARACTERS} characters.")
        if [self.position is not None, self.key is not None, self.partition_key is not None].count(True) != 1:
            raise ValueError('Give one of "position", "key" and "partition_key".')
        if self.position is None:
            return _group(self.key, self.partition_key)
        if not 0 < self.position < 10**18:
            raise ValueError("The position is a whole number, 1 or more.")
        return self.position


# msgspec's message has the member's name: no answer repeats what was sent.
_UNKNOWN_MEMBER = re.compile(r"unknown field `.*`", re.DOTALL)
_retry_decoder = msgspec.json.Decoder(RetryBody)
_discard_decoder = msgspec.json.Decoder(DiscardBody)


def parked_routes(
    database: Database,
    projections: Sequence[str],
    parking: Parking,
    log: WhoDidWhat | None = None,
    *,
    owned_by_key: Collection[str] = (),
) -> list[web.RouteDef]:
    """List, read, retry and discard, which `log` records; the application needs the middleware `problems`.

    `owned_by_key` are the projections whose key is the subject of the row's events.
    """
    views = _ParkedViews(database, projections, parking, log or WhoDidWhat(), ErrorTexts(owned_by_key))
    return [
        web.get(PATH, views.page),
        web.get(PATH + r"/{projection}/{position:[0-9]{1,18}}", views.one),
        web.post(PATH + "/{projection}/retry", views.retry),
        web.post(PATH + "/{projection}/discard", views.discard),
    ]


class _ParkedViews:
    def __init__(
        self,
        database: Database,
        projections: Sequence[str],
        parking: Parking,
        log: WhoDidWhat,
        texts: ErrorTexts,
    ) -> None:
        self._database = database
        self._projections = projections
        self._parking = parking
        self._log = log
        self._texts = texts

    async def page(self, request: web.Request) -> web.Response:
        """The first event of each group that the caller may touch, in order of projection and position."""
        limits = limits_of(request)
        given, limit, bound, after = _read_query(request.rel_url.raw_query_string)
        async with reading(self._database, ask_for_less=ASK_FOR_LESS) as connection:
            found = await parked_list.first_of_groups(
                connection,
                projection=given.get("projection"),
                key=given.get("key"),
                after=after,
                at_most=limit,
                grant=limits,
            )
        cursor = make_cursor(bound, Place(None, f"{found.end.projection} {found.end.position}")) if found.more else None
        return web.Response(
            body=encode(ParkedAnswer(self._texts.of_groups(limits, found.groups), cursor)), content_type=JSON
        )

    async def one(self, request: web.Request) -> web.Response:
        """One parked event, with its envelope."""
        projection, position = request.match_info["projection"], int(request.match_info["position"])
        limits, found = limits_of(request), None
        if projection in self._projections:
            async with self._database.acquire("rows") as connection:
                found = await parked_list.find(connection, projection, position, grant=limits)
        if found is None:
            detail = "There is no such projection, or no event is parked in it at this position."
            raise Problem(404, "not_parked", "Not parked", detail)
        return web.Response(body=encode(self._texts.of_one(limits, found)), content_type=JSON)

    async def retry(self, request: web.Request) -> web.Response:
        """Apply parked events, in order, until one fails again."""
        body = await read_json(request)
        try:
            group = _retry_decoder.decode(body).group
        except ValueError as error:
            raise _invalid_body(error) from None
        projection, limits = self._projection(request), limits_of(request)
        with self._log.doing(request, Action.PARKED_RETRIED, projection) as detail:
            try:
                outcome = await self._parking.retry(projection, group, grant=limits)
            except NotPermittedError:
                raise _not_permitted() from None
            except NotParkedError as error:
                raise Problem(404, "not_parked", "Not parked", str(error)) from None
            detail.update(counts_of(outcome))
        return _answer(self._texts.of_outcome(limits, outcome))

    async def discard(self, request: web.Request) -> web.Response:
        """Discard parked events: the projection continues without them."""
        body = await read_json(request)
        try:
            asked = _discard_decoder.decode(body)
            what = asked.what
        except ValueError as error:
            raise _invalid_body(error) from None
        projection, limits = self._projection(request), limits_of(request)
        by = self._log.who(request)
        with self._log.doing(request, Action.PARKED_DISCARDED, projection) as detail:
            try:
                outcome = await self._parking.discard(
                    projection, what, reason=asked.reason.strip(), by=by, grant=limits
                )
            except NotPermittedError:
                raise _not_permitted() from None
            except NotParkedError as error:
                raise Problem(404, "not_parked", "Not parked", str(error)) from None
            except NotFirstError as error:
                raise Problem(409, "not_first", "Another event is before it", str(error)) from None
            detail.update(counts_of(outcome))
        return _answer(self._texts.of_outcome(limits, outcome))

    def _projection(self, request: web.Request) -> str:
        name = request.match_info["projection"]
        if name in self._projections:
            return name
        detail = f"There is no projection of this name; there are {', '.join(self._projections) or 'none'}."
        raise Problem(404, "unknown_projection", "Projection not found", detail)


def _read_query(query_string: str) -> tuple[dict[str, str], int, bytes, After]:
    """The parameters, the limit, what the cursor is bound to, and where to begin. Raises Problem (400)."""
    parameters = QueryParameters(query_string, PARAMETERS, ALLOWED)
    limit = parameters.limit()
    parameters.check()
    given = parameters.given
    bound = bound_to("/parked", given)
    if "cursor" not in given:
        return given, limit, bound, BEGINNING
    projection, _, position = read_cursor(given["cursor"], bound, None).key.rpartition(" ")
    if not POSITION.fullmatch(position):
        raise invalid_parameter("cursor", "invalid_cursor", "Not a cursor.")
    return given, limit, bound, After(projection, int(position))


def _group(key: str | None, partition_key: str | None) -> Group:
    text = (key if partition_key is None else partition_key) or ""
    if not _is_text(text):
        raise ValueError("A key has no NUL character.")
    return Group(text, key_is_known=partition_key is None)


def _is_text(text: str) -> bool:
    """Whether PostgreSQL can store it; msgspec has refused lone surrogates already."""
    return "\0" not in text


def _answer(outcome: ParkedOutcome) -> web.Response:
    return web.Response(body=encode(outcome), content_type=JSON)


def _not_permitted() -> Problem:
    detail = "This service has no rights in the database to retry or discard; its operator can grant them."
    return Problem(403, "operation_not_permitted", "Operation not permitted", detail)


def _invalid_body(error: ValueError) -> Problem:
    detail = _UNKNOWN_MEMBER.sub("unknown member", str(error))
    return Problem(400, "invalid_body", "Body not valid", f"{detail.rstrip('.')}.")
