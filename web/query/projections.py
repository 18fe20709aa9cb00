"""The query service: the list of projections, pages of rows, single rows by key, and rows of the past."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import hdrs, web

from headrace.folding.folding import Folding
from headrace.projection import Field, Projection
from tables.allowed import Owners
from tables.database import Database
from tables.projections.pages import ROW_KEY, count_rows, read_page
from tables.projections.positions import ProjectionPosition, positions
from tables.projections.rows import Row, RowReader
from web.access.grants import limits_of
from web.query.as_of import AsOf, TooFarAheadError, TooManyAsOfError, TooManyEventsError, etag_of
from web.query.changes import HEARTBEAT_SECONDS, MOST_LISTENERS, ChangeStreams
from web.query.expensive_reads import reading
from web.query.own_rows import check_key, is_own_row, owners_for, owners_of, read_own_row
from web.query.row_parameters import read_row_parameters
from web.requests.own_writes import OwnWrites
from web.requests.paging import PageParameters
from web.requests.query_parameters import invalid_parameter, refuse_parameters
from web.server.hot_paths import HotPath
from web.server.problems import Problem

PATH = "/api/v1/projections"
ROW_ROUTE = PATH + "/{name}/{key}"
JSON = "application/json"
CHANGES = "changes"
PLAIN_ROW = re.compile(PATH + r"/[a-z0-9_]+/(?!" + CHANGES + r"$)[A-Za-z0-9_.:-]+").fullmatch
STALLED_AFTER_SECONDS = 60.0
BUSY_RETRY_AFTER_SECONDS = 2
ASK_FOR_LESS = "Ask for less: a filter or a sort by a field that is declared `indexed`, or none."
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

encode = msgspec.json.Encoder().encode


class ProjectionAnswer(msgspec.Struct):
    """A projection and its progress."""

    name: str
    description: str
    fields: Mapping[str, Field]
    """The fields by which pages can be filtered and sorted: `{"status": {"kind": "text"}, …}`.

    Kinds are text, number, time, date and boolean.
    """
    state: Literal["live", "stalled"]
    """`stalled`: some partition has had events to apply for too long, and applied none."""
    position: int
    lag_events: int
    lag_seconds: float


class ProjectionsAnswer(msgspec.Struct):
    """All projections."""

    items: list[ProjectionAnswer]


class PageAnswer(msgspec.Struct):
    """A page of rows, and the cursor of the next page; None on the last page."""

    items: list[Row]
    next_cursor: str | None
    total: int | msgspec.UnsetType = msgspec.UNSET
    """How many rows match the filters, on all pages; only if it was asked for."""


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
        """The list, a page and a row of each; the stream of changes has the path of a row."""
        return [
            # A key may have any character, slashes and line breaks too, or none.
            web.get(PATH + "/{name}/{key:(?s:.*)}", self.row),
            web.get(PATH + "/{name}", self.page),
            web.get(PATH, self.projections),
        ]

    def hot_path(self) -> HotPath:
        """A row without parameters, whose key needs no decoding."""
        return HotPath("GET", ROW_ROUTE, PLAIN_ROW, self.plain_row)

    async def close(self, _: web.Application) -> None:
        """End streams and waiting answers; for `on_shutdown`."""
        self._streams.close()
        self._own_writes.close()

    async def projections(self, request: web.Request) -> web.Response:
        """Every projection of which the caller may read rows, and its progress."""
        refuse_parameters(request.rel_url.raw_query_string)
        limits = limits_of(request)
        names = [name for name, one in self._projections.items() if limits is None or owners_of(limits, one)]
        async with self._database.acquire("rows") as connection:
            found = await positions(connection, names)
        items = [self._answer(self._projections[position.projection], position) for position in found]
        return web.Response(body=encode(ProjectionsAnswer(items)), content_type=JSON)

    async def page(self, request: web.Request) -> web.Response:
        """A page of rows, in order."""
        name = request.match_info["name"]
        owners = self._owners(request, name)
        asked = self._parameters[name].read(request.rel_url.raw_query_string)
        if asked.own_write:
            await self._own_writes.require(request, asked.own_write, name)
        async with reading(self._database, ask_for_less=ASK_FOR_LESS) as connection:
            page = await read_page(
                connection,
                name,
                conditions=asked.conditions,
                sort=asked.sort,
                after=asked.after,
                limit=asked.limit,
                owners=owners,
            )
            total = await count_rows(connection, name, asked.conditions, owners) if asked.with_total else msgspec.UNSET
        next_cursor = None if page.end is None else asked.cursor(page.end)
        return web.Response(body=encode(PageAnswer(page.rows, next_cursor, total)), content_type=JSON)

    async def plain_row(self, request: web.Request) -> web.Response:
        """As `row`, for a path that PLAIN_ROW matches."""
        name, key = request.raw_path.split("/")[-2:]
        return await self._row(request, name, key)

    async def row(self, request: web.Request) -> web.StreamResponse:
        """One row, or 304 when the client has its current state; or the stream of changes."""
        name, raw_key = request.match_info["name"], _raw_key(request)
        if raw_key == CHANGES:
            return await self._changes(request, name)
        try:
            key = _key(raw_key)
        except UnicodeError:
            raise Problem(400, "invalid_utf8", "Key not valid", "The key must be UTF-8, percent-encoded.") from None
        if request.rel_url.raw_query_string:
            return await self._row_with_parameters(request, name, key)
        return await self._row(request, name, key)

    async def _row_with_parameters(self, request: web.Request, name: str, key: str) -> web.Response:
        own_write, as_of = read_row_parameters(request.rel_url.raw_query_string)
        check_key(self._owners(request, name), key)
        if as_of is not None:
            return await self._row_as_of(request, name, key, as_of)
        if own_write:
            await self._own_writes.require(request, own_write, name)
        return await self._row(request, name, key)

    async def _row(self, request: web.Request, name: str, key: str) -> web.Response:
        owners = self._owners(request, name)
        check_key(owners, key)
        row = None
        if "\0" not in key:  # no text in PostgreSQL has a NUL
            row = await (
                self._rows.read(name, key) if owners is None else read_own_row(self._database, name, key, owners)
            )
        if row is None:
            raise Problem(404, "unknown_key", "Row not found", f"The projection {name} has no row with this key.")
        return _row_answer(request, row, _etag(row))

    async def _row_as_of(self, request: web.Request, name: str, key: str, position: int) -> web.Response:
        try:
            row = await self._past_row(name, key, position, self._owners(request, name))
        except TooFarAheadError as error:
            raise invalid_parameter("as_of", "invalid_value", str(error)) from None
        except TooManyAsOfError as error:
            headers: dict[str, str] = {hdrs.RETRY_AFTER: str(BUSY_RETRY_AFTER_SECONDS)}
            raise Problem(503, "too_many_as_of", "Too many as_of requests", str(error), headers=headers) from None
        except TooManyEventsError as error:
            detail = f"{error} A projection with a narrower fed_by reads fewer events."
            raise Problem(503, "as_of_too_long", "The row takes too long to fold", detail) from None
        if row is None:
            detail = f"The projection {name} had no row with this key at position {position}."
            raise Problem(404, "unknown_key", "Row not found", detail)
        return _row_answer(request, row, etag_of(encode(row)))

    async def _past_row(self, name: str, key: str, position: int, owners: Owners | None) -> Row | None:
        if "\0" in key:
            return None
        if owners is None:
            return await self._as_of.read(name, key, position)
        # Whose a row is may be known by its state alone: the time that folding another's row needs would reveal it.
        if owners.member != ROW_KEY and await read_own_row(self._database, name, key, owners) is None:
            return None
        row = await self._as_of.read(name, key, position)
        return row if row is not None and is_own_row(owners, row) else None

    async def _changes(self, request: web.Request, name: str) -> web.StreamResponse:
        owners = self._owners(request, name)
        refuse_parameters(request.rel_url.raw_query_string)
        return await self._streams.stream(request, name, owners)

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

    def _owners(self, request: web.Request, name: str) -> Owners | None:
        """Whose rows the caller may read; None: everybody's. Raises Problem (404 for a wrong name, 403 for none)."""
        projection = self._projections.get(name)
        if projection is None:
            detail = f"There is no projection of this name; there are {', '.join(self._projections) or 'none'}."
            raise Problem(404, "unknown_projection", "Projection not found", detail)
        return owners_for(request, projection)


def _raw_key(request: web.Request) -> str:
    """The part of the path after the projection's name, as sent: a key `changes` is sent as `%63hanges`."""
    return request.rel_url.raw_path.split("/", PATH.count("/") + 2)[-1]


def _key(raw: str) -> str:
    """The key, decoded once. Raises UnicodeError when it is not UTF-8: aiohttp leaves such bytes as they were sent."""
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
    """Strong: a row that was deleted and created again may repeat position and version, but not the time."""
    return f'"{row.position}-{row.version}-{(row.updated_at - EPOCH) // MICROSECOND}"'


def _is_known(request: web.Request, etag: str) -> bool:
    known = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH))
    return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
