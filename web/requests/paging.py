"""A query string -> the page that it asks for, checked; and the cursor that leads to the next one."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Collection, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from headrace.errors import HeadraceError
from headrace.events import rfc3339
from headrace.events.problem_document import ProblemError
from headrace.projection import Projection
from tables.projections.pages import Condition, Kind, Operator, Place, Sort
from web.requests import own_writes
from web.requests.own_writes import OwnWrite, read_own_write

DEFAULT_LIMIT = 50
MAX_LIMIT = 1_000
MAX_PARAMETERS = 50
MAX_SHOWN_CHARACTERS = 100
# A number as JSON has it, and one that PostgreSQL's numeric can hold.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,999})(?:\.[0-9]{1,1000})?(?:[eE][+-]?[0-9]{1,4})?")
LIMIT = re.compile(r"[0-9]{1,4}")
ORDERED: tuple[Operator, ...] = ("ne", "gt", "gte", "lt", "lte", "in")
OPERATORS: dict[Kind, tuple[Operator, ...]] = {"text": (*ORDERED, "prefix"), "number": ORDERED, "time": ORDERED}
RESERVED = frozenset({"limit", "cursor", "sort", *own_writes.NAMES})
DIGEST_BYTES = 12

_cursor_decoder = msgspec.json.Decoder(tuple[str, str | None, str])


class InvalidQueryError(HeadraceError):
    """The query string is not one that this projection understands."""

    def __init__(self, errors: list[ProblemError]) -> None:
        super().__init__("; ".join(error.detail for error in errors))
        self.errors = errors


class PageRequest(msgspec.Struct, frozen=True):
    """What page is asked for."""

    limit: int
    conditions: list[Condition]
    sort: Sort | None
    after: Place | None
    own_write: OwnWrite | None
    """The event that the page must rest on."""
    bound_to: bytes
    """Names the query, whatever its limit, page and order of parameters; a cursor is good for this alone."""

    def cursor(self, end: Place) -> str:
        """The cursor of the page that begins after `end`. Opaque to clients: base64url of JSON."""
        return make_cursor(self.bound_to, end)


class _Filter(NamedTuple):
    member: str
    kind: Kind
    operator: Operator


class PageParameters:
    """Reads query strings of one projection.

    `limit`, `cursor`, `sort=field` or `sort=-field`, `source`, `id` and `wait` (see web.own_writes), `field=value`
    and `field[operator]=value`; the value of `in` is a list with commas, so that a text with a comma cannot be one of
    several. Numbers are written as in JSON, times as in RFC 3339. A state whose member is null or absent passes no
    filter, and comes last however it is sorted. Text is compared by its code points.
    """

    def __init__(self, projection: Projection[Any]) -> None:
        self._projection = projection.name
        self._fields: dict[str, Kind] = {name: field.kind for name, field in projection.fields.items()}
        if taken := RESERVED & self._fields.keys():
            raise ValueError(f"projection {projection.name}: no field can be named {', '.join(sorted(taken))}")
        self._filters = {
            name if operator == "eq" else f"{name}[{operator}]": _Filter(name, kind, operator)
            for name, kind in self._fields.items()
            for operator in ("eq", *OPERATORS[kind])
        }
        fields = ", ".join(f"{name} ({kind})" for name, kind in self._fields.items()) or "none"
        self._allowed = (
            "Allowed are limit, cursor, sort, source, id, wait, and as filters field=value or field[operator]=value. "
            f"Fields: {fields}. "
            f"Operators: {', '.join(OPERATORS['text'])}; prefix for text only."
        )

    def read(self, query_string: str) -> PageRequest:
        """The page that a query string, still percent-encoded, asks for.

        Raises InvalidQueryError, which has everything that is wrong and says what is allowed.
        """
        pairs = read_pairs(query_string)
        errors = [*name_errors(pairs, RESERVED | self._filters.keys(), self._allowed)]
        given = dict(pairs)
        limit, sort, conditions = DEFAULT_LIMIT, None, []
        for name, value in given.items():
            try:
                if name == "limit":
                    limit = read_limit(value)
                elif name == "sort":
                    sort = self._sort(value)
                elif name in self._filters:
                    conditions.append(_condition(self._filters[name], value))
            except ValueError as error:
                errors.append(ProblemError(parameter=name, code="invalid_value", detail=str(error)))
        own_write = read_own_write(given, errors)
        if errors:
            raise InvalidQueryError(errors)
        query = {name: value for name, value in given.items() if name not in own_writes.NAMES}
        bound = bound_to(self._projection, query)
        after = read_cursor(given["cursor"], bound, sort) if "cursor" in given else None
        return PageRequest(limit, conditions, sort, after, own_write, bound)

    def _sort(self, value: str) -> Sort:
        member = value.removeprefix("-")
        if member not in self._fields:
            allowed = ", ".join(self._fields) or "nothing"
            raise ValueError(f"Rows can be sorted by {allowed}; with - before it in descending order.")
        return Sort(member, self._fields[member], value.startswith("-"))


def read_pairs(query_string: str) -> list[tuple[str, str]]:
    """Names and values, decoded. Unlike aiohttp's `query`, bytes that are not UTF-8 are refused, not replaced."""
    try:
        query_string.encode()
        pairs = parse_qsl(query_string, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeError:
        raise _invalid("invalid_utf8", "The query string must be UTF-8, percent-encoded.") from None
    except ValueError:
        raise _invalid("too_many_parameters", f"At most {MAX_PARAMETERS} parameters are allowed.") from None
    if any("\0" in text for pair in pairs for text in pair):
        raise _invalid("nul_character", "The query string may not have a NUL character (%00).")
    return pairs


def name_errors(pairs: list[tuple[str, str]], names: Collection[str], allowed: str) -> Iterator[ProblemError]:
    """Parameters that are none of `names`, or are given again; `allowed` says it in words."""
    for name, times in Counter(name for name, _ in pairs).items():
        shown = name[:MAX_SHOWN_CHARACTERS]
        if name not in names:
            detail = f"There is no such parameter. {allowed}"
            yield ProblemError(parameter=shown, code="unknown_parameter", detail=detail)
        elif times > 1:
            detail = "A parameter may be given once. For one of several values there is field[in]=a,b."
            yield ProblemError(parameter=shown, code="repeated_parameter", detail=detail)


def read_limit(value: str) -> int:
    """How many a page may have. Raises ValueError."""
    if not LIMIT.fullmatch(value) or not 1 <= int(value) <= MAX_LIMIT:
        raise ValueError(f"The limit is a whole number from 1 to {MAX_LIMIT}.")
    return int(value)


def _condition(asked: _Filter, value: str) -> Condition:
    if asked.operator == "in":
        return Condition(*asked, [_value(asked.kind, one) for one in value.split(",")])
    return Condition(*asked, _value(asked.kind, value))


def _value(kind: Kind, value: str) -> str:
    if kind == "time":
        try:
            return rfc3339.instant(rfc3339.to_utc(value))
        except ValueError as error:
            raise ValueError(f"A time {error} (in a URL, + is written %2B).") from None
    if kind == "number" and not NUMBER.fullmatch(value):
        raise ValueError(
            "A number is written as in JSON; at most 1000 digits before and after the point, exponents to 9999."
        )
    return value


def bound_to(projection: str, given: dict[str, str]) -> bytes:
    """What names a query, for its cursors."""
    query = sorted((name, value) for name, value in given.items() if name not in {"limit", "cursor"})
    return msgspec.json.encode((projection, query))


def make_cursor(bound: bytes, end: Place) -> str:
    """The cursor of a query's page that begins after `end`."""
    digest = blake2b(bound + msgspec.json.encode(end), digest_size=DIGEST_BYTES).hexdigest()
    return base64.urlsafe_b64encode(msgspec.json.encode((digest, *end))).rstrip(b"=").decode()


def read_cursor(cursor: str, bound: bytes, sort: Sort | None) -> Place:
    """The place that a cursor stands for, if it is, to the letter, the one that this query gives for that place.

    Raises InvalidQueryError.
    """
    refused = _invalid(
        "invalid_cursor",
        "Not a cursor of this query. Send next_cursor as it was given, with the same filters and the same sort.",
        "cursor",
    )
    try:
        decoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        _, sort_value, key = _cursor_decoder.decode(decoded)
    except (msgspec.MsgspecError, ValueError):
        raise refused from None
    place = Place(sort_value, key)
    # The digest is no secret: what a hand-made cursor could do to the statement is looked at all the same.
    readable = "\0" not in key + (sort_value or "") and (
        sort_value is None or (sort is not None and (sort.kind != "number" or bool(NUMBER.fullmatch(sort_value))))
    )
    if not readable or make_cursor(bound, place) != cursor:
        raise refused
    return place


def _invalid(code: str, detail: str, parameter: str | None = None) -> InvalidQueryError:
    return InvalidQueryError([ProblemError(parameter=parameter, code=code, detail=detail)])
