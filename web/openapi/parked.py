"""The operations on parked events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.folding.parked_groups import ParkedOutcome
from tables.parked.parked_list import ParkedOne
from web.openapi.document import Answer, Operation, Parameter, Schema
from web.openapi.shared import EVERYWHERE, EXPENSIVE, JSON, WRITING, invalid_query, problem_answer, unavailable
from web.query import parked
from web.query.parked import MOST_REASON_CHARACTERS, ParkedAnswer
from web.requests.query_parameters import DEFAULT_LIMIT, MAX_LIMIT

TAG = "Parked events"
TEXT: Schema = {"type": "string", "pattern": r"^[^\u0000]*$"}
POSITION: Schema = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
REASON: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MOST_REASON_CHARACTERS,
    "pattern": r"^[^\u0000]*[^\u0000\s][^\u0000]*$",
}


def parked_operations(projections: Sequence[str]) -> list[Operation]:
    """List, read, retry and discard."""
    name = Parameter("projection", "path", {"enum": list(projections)}, "The projection's name.")
    return [
        _list(),
        _read(name),
        _change("retry", "Apply parked events, in order", name, RETRY, {}),
        _change(
            "discard",
            "Discard parked events",
            name,
            DISCARD,
            {409: problem_answer("An earlier event of the key is parked too.", "not_first")},
        ),
    ]


def _list() -> Operation:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    return Operation(
        method="get",
        path=parked.PATH,
        tag=TAG,
        summary="The first parked event of each key",
        parameters=[
            Parameter("limit", "query", limit, "How many groups at most."),
            Parameter("cursor", "query", {"type": "string"}, "`next_cursor` of the previous page, unchanged."),
            Parameter("projection", "query", TEXT, "Groups of this projection."),
            Parameter("key", "query", TEXT, "Groups of this key."),
        ],
        answers={
            **EVERYWHERE,
            200: Answer("A page of groups, and the cursor of the next page.", {JSON: ParkedAnswer}),
            400: invalid_query(),
            503: unavailable(*EXPENSIVE),
        },
    )


def _read(name: Parameter) -> Operation:
    return Operation(
        method="get",
        path=parked.PATH + "/{projection}/{position}",
        tag=TAG,
        summary="One parked event, with its envelope",
        parameters=[name, Parameter("position", "path", POSITION, "The event's position.")],
        answers={
            **EVERYWHERE,
            200: Answer("The event.", {JSON: ParkedOne}),
            404: problem_answer("No such event is parked.", "not_parked", "not_found"),
        },
    )


def _change(what: str, summary: str, name: Parameter, body: Schema, answers: Mapping[int, Answer]) -> Operation:
    return Operation(
        method="post",
        path=f"{parked.PATH}/{{projection}}/{what}",
        tag=TAG,
        summary=summary,
        parameters=[name],
        body={JSON: body},
        body_description="`key` is the key of a row; `partition_key` is for events whose row is unknown.",
        answers={
            **WRITING,
            200: Answer("What was done.", {JSON: ParkedOutcome}),
            403: problem_answer(
                "A web page of another origin, or a service without rights in the database.",
                "origin_not_allowed",
                "operation_not_permitted",
            ),
            **answers,
            400: problem_answer("The body is not valid.", "invalid_body", "unreadable_body", "malformed_request"),
            404: problem_answer("Nothing is parked under this name.", "not_parked", "unknown_projection"),
            408: problem_answer("The request was not complete in time.", "slow_head", "slow_body"),
            413: problem_answer("The body is too large.", "too_large"),
            415: problem_answer(
                "The media type or content coding is not supported.",
                "unsupported_media_type",
                "unsupported_encoding",
                headers=("Accept-Encoding",),
            ),
            429: problem_answer("Too many requests.", "too_many_bodies", "rate_limited", headers=("Retry-After",)),
            503: unavailable("database_full"),
        },
    )


def _one_of(choices: Mapping[str, tuple[Schema, Schema]], beside: Mapping[str, Schema]) -> Schema:
    """An object with exactly one of the choices: by name, the schema if it is chosen and the schema if it is not."""
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    **beside,
                    **{name: chosen if name == one else other for name, (chosen, other) in choices.items()},
                },
                "required": [*beside, one],
                "additionalProperties": False,
            }
            for one in choices
        ]
    }


NONE: Schema = {"type": "null"}
KEYS: Mapping[str, tuple[Schema, Schema]] = {"key": (TEXT, NONE), "partition_key": (TEXT, NONE)}
RETRY = _one_of({**KEYS, "all": ({"const": True}, {"const": False})}, {})
DISCARD = _one_of({**KEYS, "position": (POSITION, NONE)}, {"reason": REASON})
