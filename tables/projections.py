"""`projections`, as it is read: single rows for many requests at once, and pages of rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from tables.database import AnyConnection, Database

Kind = Literal["text", "number", "time"]
Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "prefix"]

READ_ROWS = """
SELECT wanted.place, found.position, found.version, found.updated_at, found.state
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (projection, key, place)
JOIN projections AS found ON found.projection = wanted.projection AND found.key = wanted.key
"""
MAX_ROWS_A_READ = 100

PAGE = """
SELECT key, position, version, updated_at, state, sorted_by::text AS sort_value
FROM (
    SELECT key, position, version, updated_at, state, {sorted_by} AS sorted_by
    FROM projections
    WHERE projection = $1{conditions}
) AS found
{after}
ORDER BY {order}
LIMIT $2::bigint
"""

# The value of a member for comparisons; NULL, which no comparison is true of, where the member is absent or null, or
# no number or time where the field is of that kind. A time becomes the text of its instant (app.rfc3339.instant):
# C collation orders it to the last digit, and no text in a state makes it fail, as a cast to timestamptz could.
VALUE: dict[Kind, str] = {
    "text": """((state ->> {member}) COLLATE "C")""",
    "number": "(CASE WHEN jsonb_typeof(state -> {member}) = 'number' THEN (state ->> {member})::numeric END)",
    "time": """(CASE WHEN state ->> {member} LIKE '____-__-__T__:__:__%Z'
        THEN left(state ->> {member}, 19) || rtrim(substr(state ->> {member}, 20), '.0Z') END COLLATE "C")""",
}
# What rows are sorted by must fit into a cursor, and a cursor into a URL: of longer texts the first characters
# count, and numbers of more digits come last, as if they were absent.
SORT_TEXT_CHARACTERS = 256
SORT_NUMBER_CHARACTERS = 1000
SORT_VALUE: dict[Kind, str] = {
    "text": f"left({VALUE['text']}, {SORT_TEXT_CHARACTERS})",
    "number": f"CASE WHEN length(state ->> {{member}}) <= {SORT_NUMBER_CHARACTERS} THEN {VALUE['number']} END",
    "time": f"left({VALUE['time']}, {SORT_TEXT_CHARACTERS})",
}
CAST: dict[Kind, str] = {"text": "{value}::text", "number": "{value}::text::numeric", "time": "{value}::text"}
CAST_LIST: dict[Kind, str] = {
    "text": "{value}::text[]",
    "number": "{value}::text[]::numeric[]",
    "time": "{value}::text[]",
}
CONDITION: dict[Operator, str] = {
    "eq": "{member} = {value}",
    "ne": "{member} <> {value}",
    "gt": "{member} > {value}",
    "gte": "{member} >= {value}",
    "lt": "{member} < {value}",
    "lte": "{member} <= {value}",
    "in": "{member} = ANY ({value})",
    "prefix": "starts_with({member}, {value})",
}

BY_KEY = "key"
ASCENDING = "sorted_by ASC NULLS LAST, key"
DESCENDING = "sorted_by DESC NULLS LAST, key"
AFTER_KEY = "WHERE key > {key}::text"
# coalesce: rows that have nothing to sort by come after all others.
AFTER_ASCENDING = "WHERE coalesce(sorted_by > {value} OR (sorted_by = {value} AND key > {key}::text), true)"
AFTER_DESCENDING = "WHERE coalesce(sorted_by < {value} OR (sorted_by = {value} AND key > {key}::text), true)"
AFTER_NULL = "WHERE sorted_by IS NULL AND key > {key}::text"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row as it is answered."""

    projection: str
    key: str
    position: int
    version: int
    updated_at: datetime
    state: msgspec.Raw
    """The text that PostgreSQL gives, never decoded: a number of 30 digits stays what it is."""


class Condition(NamedTuple):
    """A comparison that rows must pass. The value is a text, a number as JSON has it, or a time as
    `app.rfc3339.instant` gives it; for `in` a list of them.
    """

    member: str
    kind: Kind
    operator: Operator
    value: str | list[str]


class Sort(NamedTuple):
    """What rows are ordered by; rows without it come last in both directions, and equal ones go by key."""

    member: str
    kind: Kind
    descending: bool


class Place(NamedTuple):
    """Where a page ended: the next one has the rows after it, whatever was added or deleted meanwhile."""

    sort_value: str | None
    key: str


class Page(NamedTuple):
    """Some rows in order, and where to go on; None at the end."""

    rows: list[Row]
    end: Place | None


async def read_rows(connection: AnyConnection, wanted: Sequence[tuple[str, str]]) -> list[Row | None]:
    """The rows of these (projection, key), in that order; None for one that does not exist."""
    found: list[Row | None] = [None] * len(wanted)
    names, keys = zip(*wanted, strict=True)
    for place, position, version, updated_at, state in await connection.fetch(READ_ROWS, names, keys):
        projection, key = wanted[place - 1]
        found[place - 1] = Row(projection, key, position, version, updated_at, msgspec.Raw(state))
    return found


class RowReader:
    """Reads single rows for many requests: those that come while a read is under way share the next one.

    The first waits for nobody. Each is answered from a read that began after it came, so what was committed by then
    is seen. Measured against a connection for each request: three times the requests a second at 64 connections.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Wanted] = []
        self._reader: asyncio.Task[None] | None = None

    async def read(self, projection: str, key: str) -> Row | None:
        """The row, or None. Raises what `is_away` knows when PostgreSQL does not answer in time."""
        wanted = _Wanted(projection, key, asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        return await wanted.row

    async def _read(self) -> None:
        try:
            while self._waiting:
                await self._read_on_one_connection()
        finally:
            self._reader = None

    async def _read_on_one_connection(self) -> None:
        """Read as long as somebody waits: giving a connection back costs a round trip, as long as a read itself."""
        group: list[_Wanted] = []
        try:
            async with self._database.acquire() as connection:
                while group := self._take(MAX_ROWS_A_READ):
                    rows = await read_rows(connection, [(wanted.projection, wanted.key) for wanted in group])
                    for wanted, row in zip(group, rows, strict=True):
                        if not wanted.row.done():
                            wanted.row.set_result(row)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the requests that wait
            for wanted in group or self._take(len(self._waiting)):
                if not wanted.row.done():
                    wanted.row.set_exception(error)

    def _take(self, at_most: int) -> list[_Wanted]:
        taken, self._waiting = self._waiting[:at_most], self._waiting[at_most:]
        return taken


class _Wanted(NamedTuple):
    projection: str
    key: str
    row: asyncio.Future[Row | None]


async def read_page(
    connection: AnyConnection,
    projection: str,
    *,
    conditions: Sequence[Condition] = (),
    sort: Sort | None = None,
    after: Place | None = None,
    limit: int,
) -> Page:
    """The first `limit` rows that pass all conditions, after a place, in order of `sort` or else of key."""
    statement, arguments = _page_statement(conditions, sort, after)
    found = await connection.fetch(statement, projection, limit + 1, *arguments)
    rows = [
        Row(projection, key, position, version, updated_at, msgspec.Raw(state))
        for key, position, version, updated_at, state, _ in found[:limit]
    ]
    last = found[limit - 1] if len(found) > limit else None
    return Page(rows, None if last is None else Place(last["sort_value"], last["key"]))


class _Arguments(list[str | list[str]]):
    """The arguments of a page's statement after the projection and the limit."""

    def add(self, value: str | list[str]) -> str:
        self.append(value)
        return f"${len(self) + 2}"


def _page_statement(
    conditions: Sequence[Condition], sort: Sort | None, after: Place | None
) -> tuple[str, list[str | list[str]]]:
    """PAGE, put together from the fragments above; whatever is not one of them is an argument."""
    arguments = _Arguments()
    sorted_by, order = "NULL", BY_KEY
    if sort is not None:
        sorted_by = SORT_VALUE[sort.kind].format(member=arguments.add(sort.member) + "::text")
        order = DESCENDING if sort.descending else ASCENDING
    statement = PAGE.format(
        sorted_by=sorted_by,
        conditions="".join(f" AND {_condition(condition, arguments)}" for condition in conditions),
        after=_after(sort, after, arguments),
        order=order,
    )
    return statement, arguments


def _condition(condition: Condition, arguments: _Arguments) -> str:
    member = VALUE[condition.kind].format(member=arguments.add(condition.member) + "::text")
    cast = (CAST_LIST if condition.operator == "in" else CAST)[condition.kind]
    value = cast.format(value=arguments.add(condition.value))
    return CONDITION[condition.operator].format(member=member, value=value)


def _after(sort: Sort | None, after: Place | None, arguments: _Arguments) -> str:
    if after is None:
        return ""
    key = arguments.add(after.key)
    if sort is None:
        return AFTER_KEY.format(key=key)
    if after.sort_value is None:
        return AFTER_NULL.format(key=key)
    value = CAST[sort.kind].format(value=arguments.add(after.sort_value))
    return (AFTER_DESCENDING if sort.descending else AFTER_ASCENDING).format(value=value, key=key)
