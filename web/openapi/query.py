"""What the port of the query service answers to: for each projection its own rows, filters and changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.projection import Field, Projection
from tables.projections.rows import Row
from web.openapi.document import Answer, Operation, Parameter, Schema
from web.openapi.parked import parked_operations
from web.openapi.shared import EVERYWHERE, JSON, SHARED, TEXT, invalid_query, problem_answer, unavailable
from web.query import audit_log, dead_letters
from web.query import projections as projection_views
from web.query.audit_log import LogAnswer
from web.query.changes import CONTENT_TYPE as EVENT_STREAM
from web.query.dead_letters import DeadLettersAnswer
from web.query.projections import CHANGES, PageAnswer, ProjectionsAnswer
from web.requests.own_writes import MOST_SECONDS
from web.requests.paging import OPERATORS
from web.requests.query_parameters import DEFAULT_LIMIT, MAX_LIMIT

PAGE_ROUTE = projection_views.PATH + "/{name}"
RETRY_AFTER = ("Retry-After",)

NO_NUL: Schema = {"type": "string", "pattern": r"^[^\u0000]*$"}
VALUES: Mapping[str, Schema] = {
    "text": NO_NUL,
    "number": {"type": "number"},
    "time": {"type": "string", "format": "date-time"},
}
LIMIT = Parameter(
    "limit",
    "query",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "How many at the most.",
)
CURSOR = Parameter(
    "cursor", "query", TEXT, "`next_cursor` of the page before, as it was given, with the same other parameters."
)
KEY = Parameter(
    "key",
    "path",
    {"type": "string", "minLength": 1},
    f"Any character, percent-encoded; the key `{CHANGES}` is sent as `%63hanges`.",
)
OWN_WRITE = [
    Parameter("source", "query", NO_NUL, "With `id`: the answer rests on this event."),
    Parameter("id", "query", NO_NUL, "With `source`."),
    Parameter(
        "wait",
        "query",
        {"type": "string", "pattern": rf"^(?:(?:[1-5]?[0-9])(?:\.[0-9]{{1,3}})?|{MOST_SECONDS}(?:\.0{{1,3}})?)$"},
        f"With `source` and `id`: wait so many seconds, at most {MOST_SECONDS}, until that event is applied.",
    ),
]
NOT_APPLIED = ("event_not_applied", "event_parked")
IF_NONE_MATCH = Parameter("If-None-Match", "header", TEXT, "An ETag; 304 while the row is as it was.")
LAST_EVENT_ID = Parameter(
    "Last-Event-ID", "header", TEXT, "The id of the last event that was read; the changes after it are told first."
)
POSITION: Schema = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
AS_OF = Parameter(
    "as_of",
    "query",
    POSITION,
    "The row as it was after the event at this position, at most that of the newest. Not with `source`, `id`, `wait`.",
)


def operations_of_query(projections: Sequence[Projection[Any]]) -> list[Operation]:
    """All of them."""
    of_projections = [one for projection in projections for one in _of_projection(projection)]
    return [
        Operation(
            method="get",
            path=projection_views.PATH,
            tag="Projections",
            summary="What projections there are, and how far each is",
            answers={
                **EVERYWHERE,
                200: Answer("All of them.", {JSON: ProjectionsAnswer}),
                400: invalid_query(),
            },
        ),
        *of_projections,
        _audit_log(),
        *parked_operations([projection.name for projection in projections]),
        _dead_letters(),
        *SHARED,
    ]


def _of_projection(projection: Projection[Any]) -> Iterator[Operation]:
    path = f"{projection_views.PATH}/{projection.name}"
    row, page = _answers(projection)
    yield Operation(
        method="get",
        path=path,
        route=PAGE_ROUTE,
        tag=projection.name,
        summary=f"Rows of {projection.name}, by pages",
        description=projection.description,
        parameters=[LIMIT, CURSOR, *_filters(projection.fields), *OWN_WRITE],
        answers={
            **EVERYWHERE,
            200: Answer("Some rows, and the cursor of the next page.", {JSON: page}),
            400: invalid_query(),
            503: unavailable(*NOT_APPLIED),
        },
    )
    yield Operation(
        method="get",
        path=path + "/{key}",
        route=projection_views.ROW_ROUTE,
        tag=projection.name,
        summary=f"One row of {projection.name}",
        parameters=[KEY, IF_NONE_MATCH, *OWN_WRITE, AS_OF],
        answers={
            **EVERYWHERE,
            200: Answer("The row.", {JSON: row}, ("ETag",)),
            304: Answer("The row is as it was.", headers=("ETag",)),
            400: invalid_query("invalid_utf8"),
            404: problem_answer("There is, or was, no such row.", "unknown_key"),
            503: unavailable(*NOT_APPLIED, "too_many_as_of", "as_of_too_long"),
        },
    )
    yield Operation(
        method="get",
        path=f"{path}/{CHANGES}",
        route=projection_views.ROW_ROUTE,
        tag=projection.name,
        summary=f"Changed rows of {projection.name}, as they change",
        description=(
            "Server-sent events without end. One without a type has a row as its data; `deleted` tells of a row that "
            "is gone, and `reset` that all rows must be read anew."
        ),
        parameters=[LAST_EVENT_ID],
        answers={
            **EVERYWHERE,
            200: Answer("The stream.", {EVENT_STREAM: TEXT}),
            400: invalid_query("invalid_last_event_id"),
            503: unavailable("too_many_streams"),
        },
    )


def _answers(projection: Projection[Any]) -> tuple[type, type]:
    """A row and a page, as the views answer them, with the projection's own state."""
    name = "".join(word.capitalize() for word in projection.name.split("_"))
    members = [
        (field.name, projection.state if field.name == "state" else field.type) for field in msgspec.structs.fields(Row)
    ]
    row = msgspec.defstruct(f"{name}Row", members)
    page = msgspec.defstruct(
        f"{name}Page",
        [
            (field.name, list[row] if field.name == "items" else field.type)  # type: ignore[valid-type]
            for field in msgspec.structs.fields(PageAnswer)
        ],
    )
    return row, page


def _filters(fields: Mapping[str, Field]) -> Iterator[Parameter]:
    sorts = [f"{sign}{name}" for name in fields for sign in ("", "-")]
    if sorts:
        yield Parameter("sort", "query", {"enum": sorts}, "By which field; with - before it in descending order.")
    for name, field in fields.items():
        value = VALUES[field.kind]
        yield Parameter(name, "query", value, f"Rows whose `{name}` is this.")
        for operator in OPERATORS[field.kind]:
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
        summary="Messages of devices that were refused",
        parameters=[LIMIT, CURSOR],
        answers={
            **EVERYWHERE,
            200: Answer("Some of them, the newest first, and the cursor of the next page.", {JSON: DeadLettersAnswer}),
            400: invalid_query(),
        },
    )


def _audit_log() -> Operation:
    time = VALUES["time"]
    return Operation(
        method="get",
        path=audit_log.PATH,
        tag="Audit log",
        summary="Every event that was stored",
        description="In order of position; with `from` or `to` in order of the events' times.",
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
            200: Answer("Some events, and the cursor of the next page.", {JSON: LogAnswer}),
            400: invalid_query(),
            503: unavailable("query_too_long"),
        },
    )
