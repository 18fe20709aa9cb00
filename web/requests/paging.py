"""The page that a query string asks for, and the cursor that leads to the next page."""

from __future__ import annotations

import base64
import re
from datetime import date
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from headrace.declared import PAGE_PARAMETERS
from headrace.events import rfc3339
from headrace.projection import Projection
from tables.projections.pages import ROW_KEY, FieldCondition, Kind, Member, Operator, Place, Sort
from web.requests import own_writes
from web.requests.own_writes import OwnWrite, read_own_write
from web.requests.query_parameters import QueryParameters, invalid_parameter

# A number in the grammar of JSON that PostgreSQL's numeric can hold.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,999})(?:\.[0-9]{1,1000})?(?:[eE][+-]?[0-9]{1,4})?")
ORDERED: tuple[Operator, ...] = ("ne", "gt", "gte", "lt", "lte", "in")
OPERATORS: dict[Kind, tuple[Operator, ...]] = {
    "text": (*ORDERED, "prefix"),
    "number": ORDERED,
    "time": ORDERED,
    "date": ORDERED,
    "boolean": ("ne",),
}
TEXT: Kind = "text"
BOOLEANS = ("true", "false")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
KEY, TOTAL = "key", "total"
"""A declared field of such a name is filtered by instead."""
DIGEST_BYTES = 12

_cursor_decoder = msgspec.json.Decoder(tuple[str, str | None, str])


class PageRequest(msgspec.Struct, frozen=True):
    """The page that a client asks for."""

    limit: int
    conditions: list[FieldCondition]
    sort: Sort | None
    after: Place | None
    own_write: OwnWrite | None
    """An event that must be applied before the page is read."""
    with_total: bool
    """Whether the answer says how many rows match the filters, on all pages."""
    bound_to: bytes
    """Identifies the query, whatever its limit, page and order of parameters; a cursor is valid for this query only."""

    def cursor(self, end: Place) -> str:
        """The cursor of the page that begins after `end`. Opaque to clients: base64url of JSON."""
        return make_cursor(self.bound_to, end)


class _Filter(NamedTuple):
    member: Member
    kind: Kind
    operator: Operator


class PageParameters:
    """Reads query strings for pages of one projection.

    `limit`, `cursor`, `sort=field` or `sort=-field`, `total`, `source`, `id` and `wait` (see `own_writes`),
    `field=value` and `field[operator]=value`, where `key` is the row's key. The value of `in` is a comma-separated
    list, so its items cannot contain commas. Numbers and booleans are written as in JSON, times and dates as in
    RFC 3339. A state whose member is null or absent passes no filter, and
    comes last in any order. Text is compared by its code points.
    """

    def __init__(self, projection: Projection[Any]) -> None:
        self._projection = projection.name
        self._fields: dict[str, Kind] = {name: field.kind for name, field in projection.fields.items()}
        self._members = projection.members
        filtered = {name: (self._members[name], kind) for name, kind in self._fields.items()}
        self._filters = {
            name if operator == "eq" else f"{name}[{operator}]": _Filter(member, kind, operator)
            for name, (member, kind) in ({KEY: (ROW_KEY, TEXT)} | filtered).items()
            for operator in ("eq", *OPERATORS[kind])
        }
        self._counts = TOTAL not in self._fields
        self._names = PAGE_PARAMETERS | self._filters.keys() | {TOTAL}
        fields = ", ".join(f"{name} ({kind})" for name, kind in self._fields.items()) or "none"
        self._allowed = (
            "Allowed are limit, cursor, sort, total, source, id, wait, and as filters key, field=value or "
            f"field[operator]=value. Fields: {fields}. Operators: {', '.join(OPERATORS['text'])}; prefix for text and "
            "key only, for boolean ne only."
        )

    def read(self, query_string: str) -> PageRequest:
        """The page that a query string, still percent-encoded, asks for.

        Raises Problem (400), which has every error and says what is allowed.
        """
        parameters = QueryParameters(query_string, self._names, self._allowed)
        limit = parameters.limit()
        sort = parameters.value("sort", self._sort, None)
        conditions = [
            condition
            for name in parameters.given
            if name in self._filters
            and (condition := parameters.value(name, partial(_condition, self._filters[name]), None)) is not None
        ]
        with_total = self._counts and parameters.value(TOTAL, _boolean, "false") == "true"
        own_write = read_own_write(parameters)
        parameters.check()
        given = parameters.given
        unbound = own_writes.NAMES | ({TOTAL} if self._counts else set())
        query = {name: value for name, value in given.items() if name not in unbound}
        bound = bound_to(self._projection, query)
        after = read_cursor(given["cursor"], bound, sort) if "cursor" in given else None
        return PageRequest(limit, conditions, sort, after, own_write, with_total, bound)

    def _sort(self, value: str) -> Sort:
        name = value.removeprefix("-")
        if name not in self._fields:
            allowed = ", ".join(self._fields) or "nothing"
            raise ValueError(f"Rows can be sorted by {allowed}; with - before it in descending order.")
        return Sort(self._members[name], self._fields[name], value.startswith("-"))


def _condition(asked: _Filter, value: str) -> FieldCondition:
    if asked.operator == "in":
        return FieldCondition(*asked, [_value(asked.kind, one) for one in value.split(",")])
    return FieldCondition(*asked, _value(asked.kind, value))


def _value(kind: Kind, value: str) -> str:
    if kind == "time":
        try:
            return rfc3339.instant(rfc3339.to_utc(value))
        except ValueError as error:
            raise ValueError(f"A time {error} (in a URL, + is written %2B).") from None
    if kind == "date":
        return _date(value)
    if kind == "boolean":
        return _boolean(value)
    if kind == "number" and not NUMBER.fullmatch(value):
        raise ValueError(
            "A number is written as in JSON; at most 1000 digits before and after the point, exponents to 9999."
        )
    return value


def _boolean(value: str) -> str:
    if value not in BOOLEANS:
        raise ValueError("A boolean is true or false.")
    return value


def _date(value: str) -> str:
    try:
        if DATE.fullmatch(value):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    raise ValueError("A date is written as in RFC 3339, such as 2026-01-31.")


def bound_to(path: str, given: dict[str, str]) -> bytes:
    """What identifies a query, for its cursors. `path` is a projection's name, or has a slash, which no name has."""
    query = sorted((name, value) for name, value in given.items() if name not in {"limit", "cursor"})
    return msgspec.json.encode((path, query))


def make_cursor(bound: bytes, end: Place) -> str:
    """The cursor of a query's page that begins after `end`."""
    digest = blake2b(bound + msgspec.json.encode(end), digest_size=DIGEST_BYTES).hexdigest()
    return base64.urlsafe_b64encode(msgspec.json.encode((digest, *end))).rstrip(b"=").decode()


def read_cursor(cursor: str, bound: bytes, sort: Sort | None) -> Place:
    """The place that a cursor stands for, if it is exactly the cursor that this query gives for that place.

    Raises Problem (400).
    """
    invalid = invalid_parameter(
        "cursor",
        "invalid_cursor",
        "Not a cursor of this query. Send next_cursor as it was given, with the same filters and the same sort.",
    )
    try:
        decoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        _, sort_value, key = _cursor_decoder.decode(decoded)
    except (msgspec.MsgspecError, ValueError):
        raise invalid from None
    place = Place(sort_value, key)
    # The digest is no secret: a hand-made cursor must not bring a value that the statement cannot hold.
    readable = "\0" not in key + (sort_value or "") and (
        sort_value is None or (sort is not None and _can_be_cast(sort.kind, sort_value))
    )
    if not readable or make_cursor(bound, place) != cursor:
        raise invalid
    return place


def _can_be_cast(kind: Kind, sort_value: str) -> bool:
    if kind == "boolean":
        return sort_value in BOOLEANS
    return kind != "number" or NUMBER.fullmatch(sort_value) is not None
