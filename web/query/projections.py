"""The query service: projections, their rows by pages, and single rows by key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import hdrs, web

from headrace.events.problem_document import ProblemError
from headrace.folding.folding import Folding
from headrace.projection import Field, Projection
from tables.database import Database
from tables.projections.pages import read_page
from tables.projections.positions import ProjectionPosition, positions
from tables.projections.rows import Row, RowReader
from web.query.as_of import AsOf, TooFarAheadError, TooManyEventsError, TooManyLooksError, etag_of
from web.query.changes import HEARTBEAT_SECONDS, MOST_LISTENERS, ChangeStreams
from web.query.row_parameters import read_row_parameters
from web.requests.own_writes import OwnWrites
from web.requests.paging import InvalidQueryError, PageParameters
from web.server.hot_paths import HotPath
from web.server.problems import problem

PATH = "/api/v1/projections"
ROW_ROUTE = PATH + "/{name}/{key}"
JSON = "application/json"
CHANGES = "changes"
PLAIN_ROW = re.compile(PATH + r"/[a-z0-9_]+/(?!" + CHANGES + r"$)[A-Za-z0-9_.:-]+").fullmatch
STALLED_AFTER_SECONDS = 60.0
BUSY_RETRY_AFTER_SECONDS = 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

encode = msgspec.json.Encoder().encode


class ProjectionAnswer(msgspec.Struct):
    """A projection and how far it is."""

    name: str
    description: str
    fields: Mapping[str, Field]
    """What pages can be filtered and sorted by: `{"status": {"kind": "text"}, …}`; kinds are text, number, time."""
    state: Literal["live", "stalled"]
    """`stalled`: a part of it has had events to apply, and applied none, for too long."""
    position: int
    lag_events: int
    lag_seconds: float


class ProjectionsAnswer(msgspec.Struct):
    """All projections."""

    items: list[ProjectionAnswer]


class PageAnswer(msgspec.Struct):
    """Some rows, and the cursor of the next page; None at the end."""

    items: list[Row]
    next_cursor: str | None


class Projections:
    """The views of the query service; its application needs the middleware `problems`."""

    def __init__(
        self,
        database: Database,
        projections: Sequence[Projection[Any]],
        *,
        stalled_after_seconds: float = STALLED_AFTER_SECONDS,
        most_streams: int = MOST_LISTENERS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._database = database
        self._projections = {projection.name: projection for projection in projections}
        self._parameters = {projection.name: PageParameters(projection) for projection in projections}
        self._stalled_after_seconds = stalled_after_seconds
        self._rows = RowReader(database)
        self._own_writes = OwnWrites(database, list(self._projections))
        foldings = {projection.name: Folding(projection) for projection in projections}
        self._as_of = AsOf(database, projections, foldings)
        self._streams = ChangeStreams(
            database,
            foldings,
            most_listeners=most_streams,
            heartbeat_seconds=heartbeat_seconds,
        )

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            # A key may hold any character, also slashes and line breaks.
            web.get(PATH + "/{name}/{key:(?s:.+)}", self.row),
            web.get(PATH + "/{name}", self.page),
            web.get(PATH, self.projections),
        ]

    def hot_path(self) -> HotPath:
        """A row whose key needs no decoding, without parameters."""
        return HotPath(ROW_ROUTE, lambda method, path: method == "GET" and PLAIN_ROW(path) is not None, self.plain_row)

    async def close(self, _: web.Application) -> None:
        """End what would go on; for `on_shutdown`."""
        self._streams.close()
        self._own_writes.close()

    async def projections(self, request: web.Request) -> web.Response:
        """Every projection: what it is, and how far it is."""
        if request.rel_url.raw_query_string:
            return _no_parameters()
        async with self._database.acquire() as connection:
            found = await positions(connection, list(self._projections))
        items = [self._answer(self._projections[one.projection], one) for one in found]
        return web.Response(body=encode(ProjectionsAnswer(items)), content_type=JSON)

    async def page(self, request: web.Request) -> web.Response:
        """Some rows of a projection, in order."""
        name = request.match_info["name"]
        if name not in self._parameters:
            return self._unknown_projection()
        try:
            asked = self._parameters[name].read(request.rel_url.raw_query_string)
        except InvalidQueryError as error:
            return _invalid(error)
        if asked.own_write and (refusal := await self._own_writes.not_yet(request, asked.own_write, name)):
            return refusal
        async with self._database.acquire() as connection:
            page = await read_page(
                connection, name, conditions=asked.conditions, sort=asked.sort, after=asked.after, limit=asked.limit
            )
        next_cursor = None if page.end is None else asked.cursor(page.end)
        return web.Response(body=encode(PageAnswer(page.rows, next_cursor)), content_type=JSON)

    async def plain_row(self, request: web.Request) -> web.Response:
        """The same as `row`, for a path that PLAIN_ROW matches."""
        name, key = request.raw_path.split("/")[-2:]
        return await self._row(request, name, key)

    async def row(self, request: web.Request) -> web.StreamResponse:
        """One row, or 304 when the client has it as it is; or the stream of changes."""
        name, raw_key = request.match_info["name"], _raw_key(request)
        if raw_key == CHANGES:
            return await self._changes(request, name)
        try:
            key = _key(raw_key)
        except UnicodeError:
            return problem(400, "invalid_utf8", "Key not valid", "The key must be UTF-8, percent-encoded.")
        if request.rel_url.raw_query_string:
            return await self._row_with_parameters(request, name, key)
        return await self._row(request, name, key)

    async def _row_with_parameters(self, request: web.Request, name: str, key: str) -> web.Response:
        try:
            own_write, as_of = read_row_parameters(request.rel_url.raw_query_string)
        except InvalidQueryError as error:
            return _invalid(error)
        if name not in self._parameters:
            return self._unknown_projection()
        if as_of is not None:
            return await self._row_as_of(request, name, key, as_of)
        if own_write and (refusal := await self._own_writes.not_yet(request, own_write, name)):
            return refusal
        return await self._row(request, name, key)

    async def _row(self, request: web.Request, name: str, key: str) -> web.Response:
        if name not in self._parameters:
            return self._unknown_projection()
        # No text in PostgreSQL has a NUL.
        row = None if "\0" in key else await self._rows.read(name, key)
        if row is None:
            return problem(404, "unknown_key", "Row not found", f"The projection {name} has no row with this key.")
        return _row_answer(request, row, _etag(row))

    async def _row_as_of(self, request: web.Request, name: str, key: str, position: int) -> web.Response:
        try:
            row = None if "\0" in key else await self._as_of.read(name, key, position)
        except TooFarAheadError as error:
            return _invalid(
                InvalidQueryError([ProblemError(parameter="as_of", code="invalid_value", detail=str(error))])
            )
        except TooManyLooksError as error:
            headers: dict[str, str] = {hdrs.RETRY_AFTER: str(BUSY_RETRY_AFTER_SECONDS)}
            return problem(503, "too_many_as_of", "Too many requests for the past", str(error), headers=headers)
        except TooManyEventsError as error:
            detail = f"{error} A projection whose fed_by tells where the events of a key are needs fewer."
            return problem(503, "as_of_too_long", "The row takes too long to fold", detail)
        if row is None:
            detail = f"The projection {name} had no row with this key at position {position}."
            return problem(404, "unknown_key", "Row not found", detail)
        return _row_answer(request, row, etag_of(encode(row)))

    async def _changes(self, request: web.Request, name: str) -> web.StreamResponse:
        if name not in self._parameters:
            return self._unknown_projection()
        if request.rel_url.raw_query_string:
            return _no_parameters()
        return await self._streams.stream(request, name)

    def _answer(self, projection: Projection[Any], position: ProjectionPosition) -> ProjectionAnswer:
        return ProjectionAnswer(
            projection.name,
            projection.description,
            projection.fields,
            "stalled" if position.waits_seconds > self._stalled_after_seconds else "live",
            position.position,
            position.lag_events,
            round(position.lag_seconds, 3),
        )

    def _unknown_projection(self) -> web.Response:
        detail = f"There is no projection of this name; there are {', '.join(self._projections) or 'none'}."
        return problem(404, "unknown_projection", "Projection not found", detail)


def _raw_key(request: web.Request) -> str:
    """What follows the projection's name in the path, as it was sent: a key `changes` is sent as `%63hanges`."""
    return request.rel_url.raw_path.split("/", PATH.count("/") + 2)[-1]


def _key(raw: str) -> str:
    """The key as it was meant: decoded once.

    aiohttp's own decoding leaves bytes that are not UTF-8 as they were sent. Raises UnicodeError for them.
    """
    if raw.isascii() and "%" not in raw:
        return raw
    return unquote_to_bytes(raw).decode()


def _row_answer(request: web.Request, row: Row, etag: str) -> web.Response:
    headers = {hdrs.ETAG: etag, hdrs.CACHE_CONTROL: "no-cache"}
    if hdrs.IF_NONE_MATCH in request.headers and _is_known(request, etag):
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = JSON
    return web.Response(body=encode(row), headers=headers)


def _etag(row: Row) -> str:
    """Strong: a row that was deleted and made anew may have the same position and version, but not the same time."""
    return f'"{row.position}-{row.version}-{(row.updated_at - EPOCH) // MICROSECOND}"'


def _is_known(request: web.Request, etag: str) -> bool:
    known = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH))
    return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))


def _invalid(error: InvalidQueryError) -> web.Response:
    return problem(400, "invalid_query", "Query not valid", "See errors for what is wrong.", errors=error.errors)


def _no_parameters() -> web.Response:
    detail = "This path takes no parameters. A ? that belongs to the key is written %3F."
    error = ProblemError(code="unknown_parameter", detail=detail)
    return problem(400, "invalid_query", "Query not valid", detail, errors=[error])
