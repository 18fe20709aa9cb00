"""The operations of the query port: each projection has its own rows, filters and changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.access.access_log import Action
from headrace.projection import Field, Projection
from tables.projections.pages import Kind
from tables.projections.rows import Row
from web.openapi.document import Answer, Operation, Parameter, Schema
from web.openapi.parked import parked_operations
from web.openapi.shared import (
    EVERYWHERE,
    EXPENSIVE,
    JSON,
    NOT_YOURS,
    SHARED,
    TEXT,
    invalid_query,
    problem_answer,
    unavailable,
)
from web.query import access_log, audit_log, dead_letters
from web.query import projections as projection_views
from web.query.access_log import AccessLogAnswer
from web.query.audit_log import LogAnswer
from web.query.changes import CONTENT_TYPE as EVENT_STREAM
from web.query.dead_letters import DeadLettersAnswer
from web.query.projections import CHANGES, PageAnswer, ProjectionsAnswer
from web.requests.own_writes import MOST_SECONDS
from web.requests.paging import KEY as ROW_KEY
from web.requests.paging import OPERATORS, TOTAL
from web.requests.query_parameters import DEFAULT_LIMIT, MAX_LIMIT

PAGE_ROUTE = projection_views.PATH + "/{name}"
RETRY_AFTER = ("Retry-After",)

NO_NUL: Schema = {"type": "string", "pattern": r"^[^\u0000]*$"}
VALUES: Mapping[str, Schema] = {
    "text": NO_NUL,
    "number": {"type": "number"},
    "time": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "boolean": {"type": "boolean"},
}
LIMIT = Parameter(
    "limit",
    "query",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "How many items at most.",
)
CURSOR = Parameter(
    "cursor", "query", TEXT, "`next_cursor` of the previous page, unchanged, with the same other parameters."
)
KEY = Parameter(
    "key",
    "path",
    {"type": "string", "minLength": 1},
    f"The key, percent-encoded. It may have any character; the key `{CHANGES}` is sent as `%63hanges`. An empty key is "
    "asked for by the path that ends with the slash.",
)
COUNTED = Parameter(
    TOTAL,
    "query",
    {"type": "boolean", "default": False},
    "Whether the answer has `total`: how many rows match the filters, on all pages. It reads all of them.",
)
OWN_WRITE = [
    Parameter("source", "query", NO_NUL, "With `id`: an event that must be applied before the answer."),
    Parameter("id", "query", NO_NUL, "With `source`."),
    Parameter(
        "wait",
        "query",
        {"type": "string", "pattern": rf"^(?:(?:[1-5]?[0-9])(?:\.[0-9]{{1,3}})?|{MOST_SECONDS}(?:\.0{{1,3}})?)$"},
        f"With `source` and `id`: how many seconds to wait for that event, at most {MOST_SECONDS}.",
    ),
]
NOT_APPLIED = ("event_not_applied", "event_parked")
IF_NONE_MATCH = Parameter("If-None-Match", "header", TEXT, "An ETag; the answer is 304 while the row has not changed.")
LAST_EVENT_ID = Parameter(
    "Last-Event-ID", "header", TEXT, "The id of the last event that the client received; the stream resumes after it."
)
POSITION: Schema = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
AS_OF = Parameter(
    "as_of",
    "query",
    POSITION,
    "The row as it was after the event at this position, at most the newest. Not with `source`, `id` or `wait`.",
)


def operations_of_query(projections: Sequence[Projection[Any]]) -> list[Operation]:
    """Those of the projections first, then those of events and messages, then those of every port."""
    of_projections = [one for projection in projections for one in _of_projection(projection)]
    return [
        Operation(
            method="get",
            path=projection_views.PATH,
            tag="Projections",
            summary="The projections, and the progress of each",
            answers={
                **EVERYWHERE,
                200: Answer("The projections.", {JSON: ProjectionsAnswer}),
                400: invalid_query(),
            },
        ),
        *of_projections,
        _audit_log(),
        _access_log(),
        *parked_operations([projection.name for projection in projections]),
        _dead_letters(),
        *SHARED,
    ]


def _of_projection(projection: Projection[Any]) -> Iterator[Operation]:
    path = f"{projection_views.PATH}/{projection.name}"
    row, page = _answers(projection)
    yield _page(projection, path, page)
    yield _row(projection, path, row)
    yield _row(projection, path, row, has_key=False)
    yield _changes(projection, path)


def _page(projection: Projection[Any], path: str, page: type) -> Operation:
    return Operation(
        method="get",
        path=path,
        route=PAGE_ROUTE,
        tag=projection.name,
        summary=f"Rows of {projection.name}, in pages",
        description=projection.description,
        parameters=[
            *(LIMIT, CURSOR),
            *([] if TOTAL in projection.fields else [COUNTED]),
            *_filters(projection.fields),
            *OWN_WRITE,
        ],
        answers={
            **EVERYWHERE,
            200: Answer("A page of rows, and the cursor of the next page.", {JSON: page}),
            400: invalid_query(),
            403: NOT_YOURS,
            503: unavailable(*NOT_APPLIED, *EXPENSIVE),
        },
    )


def _row(projection: Projection[Any], path: str, row: type, *, has_key: bool = True) -> Operation:
    return Operation(
        method="get",
        path=path + ("/{key}" if has_key else "/"),
        route=projection_views.ROW_ROUTE,
        tag=projection.name,
        summary=f"One row of {projection.name}" if has_key else f"The row of {projection.name} whose key is empty",
        parameters=[*([KEY] if has_key else []), IF_NONE_MATCH, *OWN_WRITE, AS_OF],
        answers={
            **EVERYWHERE,
            200: Answer("The row.", {JSON: row}, ("ETag",)),
            304: Answer("The row has not changed.", headers=("ETag",)),
            400: invalid_query("invalid_utf8"),
            403: NOT_YOURS,
            404: problem_answer("There is, or was, no such row.", "unknown_key"),
            503: unavailable(*NOT_APPLIED, "too_many_as_of", "as_of_too_long", "too_many_reads"),
        },
    )


def _changes(projection: Projection[Any], path: str) -> Operation:
    return Operation(
        method="get",
        path=f"{path}/{CHANGES}",
        route=projection_views.ROW_ROUTE,
        tag=projection.name,
        summary=f"Rows of {projection.name}, as they change",
        description=(
            "An endless stream of server-sent events. An event without a type has a row as its data. `deleted` says "
            "that a row is gone, and `reset` that all rows must be read again."
        ),
        parameters=[LAST_EVENT_ID],
        answers={
            **EVERYWHERE,
            200: Answer("The stream.", {EVENT_STREAM: TEXT}),
            400: invalid_query("invalid_last_event_id"),
            403: NOT_YOURS,
            503: unavailable("too_many_streams"),
        },
    )


def _answers(projection: Projection[Any]) -> tuple[type, type]:
    """The types of a row and a page, as the views answer them, with the projection's own state."""
    name = "".join(word.capitalize() for word in projection.name.split("_"))
    members = [
        (field.name, projection.state if field.name == "state" else field.type) for field in msgspec.structs.fields(Row)
    ]
    # The module distinguishes types of one name: those of `a_b` and `a__b`.
    row = msgspec.defstruct(f"{name}Row", members, module=projection.name)
    page = msgspec.defstruct(
        f"{name}Page",
        [
            (field.name, list[row] if field.name == "items" else field.type, field.default)  # type: ignore[valid-type]
            for field in msgspec.structs.fields(PageAnswer)
        ],
        kw_only=True,
        module=projection.name,
    )
    return row, page


def _filters(fields: Mapping[str, Field]) -> Iterator[Parameter]:
    sorts = [f"{sign}{name}" for name in fields for sign in ("", "-")]
    if sorts:
        yield Parameter("sort", "query", {"enum": sorts}, "The field to sort by; with - before it in descending order.")
    kinds: dict[str, Kind] = {name: field.kind for name, field in fields.items()}
    of_key: dict[str, Kind] = {} if ROW_KEY in kinds else {ROW_KEY: "text"}
    for name, kind in (of_key | kinds).items():
        value = VALUES[kind]
        yield Parameter(name, "query", value, f"Rows whose `{name}` is this.")
        for operator in OPERATORS[kind]:
            if operator == "in":
                values = {"type": "array", "items": value, "minItems": 1}
                yield Parameter(f"{name}[in]", "query", values, f"Rows whose `{name}` is one of these.", is_list=True)
            else:
                yield Parameter(f"{name}[{operator}]", "query", value, f"Rows by their `{name}`: {operator}.")


def _dead_letters() -> Operation:
    return Operation(
        method="get",
        path=dead_letters.PATH,
        tag="Devices",
        summary="Refused device messages",
        parameters=[LIMIT, CURSOR],
        answers={
            **EVERYWHERE,
            200: Answer(
                "A page of messages, newest first, and the cursor of the next page.", {JSON: DeadLettersAnswer}
            ),
            400: invalid_query(),
            403: NOT_YOURS,
            503: unavailable(*EXPENSIVE),
        },
    )


def _access_log() -> Operation:
    return Operation(
        method="get",
        path=access_log.PATH,
        tag="Access log",
        summary="Who did what",
        description="Keys, refusals, operations and reads of logs; newest first.",
        parameters=[
            LIMIT,
            CURSOR,
            Parameter("caller", "query", NO_NUL, "Entries of this caller, by its id."),
            Parameter("action", "query", {"enum": [action.value for action in Action]}, "Entries of this action."),
            Parameter("from", "query", VALUES["time"], "Entries of this time or later."),
            Parameter("to", "query", VALUES["time"], "Entries before this time."),
        ],
        answers={
            **EVERYWHERE,
            200: Answer("A page of entries, and the cursor of the next page.", {JSON: AccessLogAnswer}),
            400: invalid_query(),
            503: unavailable(*EXPENSIVE),
        },
    )


def _audit_log() -> Operation:
    time = VALUES["time"]
    return Operation(
        method="get",
        path=audit_log.PATH,
        tag="Audit log",
        summary="Every stored event",
        description="By position; with `from` or `to`, by the events' times.",
        parameters=[
            LIMIT,
            CURSOR,
            Parameter("type", "query", NO_NUL, "Events of this type."),
            Parameter("source", "query", NO_NUL, "Events of this source."),
            Parameter("subject", "query", NO_NUL, "Events with this subject."),
            Parameter("after", "query", {**POSITION, "minimum": 0}, "Events after this position."),
            Parameter("from", "query", time, "Events whose time is this or later."),
            Parameter("to", "query", time, "Events whose time is before this."),
        ],
        answers={
            **EVERYWHERE,
            200: Answer("A page of events, and the cursor of the next page.", {JSON: LogAnswer}),
            400: invalid_query(),
            503: unavailable(*EXPENSIVE),
        },
    )
