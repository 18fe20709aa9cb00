"""What the API of parked events answers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.folding.parked_groups import ParkedOutcome
from tables.parked.parked_list import ParkedOne
from web.openapi.document import Answer, Operation, Parameter, Schema
from web.openapi.shared import EVERYWHERE, JSON, invalid_query, problem_answer, unavailable
from web.query import parked
from web.query.parked import MOST_REASON_CHARACTERS, ParkedAnswer
from web.requests.paging import DEFAULT_LIMIT, MAX_LIMIT

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
    """Look, retry, discard."""
    name = Parameter("projection", "path", {"enum": list(projections)}, "The projection's name.")
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    return [
        Operation(
            method="get",
            path=parked.PATH,
            tag=TAG,
            summary="The first parked event of each key",
            parameters=[
                Parameter("limit", "query", limit, "How many at the most."),
                Parameter("cursor", "query", {"type": "string"}, "`next_cursor` of the page before, as it was given."),
                Parameter("projection", "query", TEXT, "Those of this projection."),
                Parameter("key", "query", TEXT, "Those of this key."),
            ],
            answers={
                **EVERYWHERE,
                200: Answer("Some of them, and the cursor of the next page.", {JSON: ParkedAnswer}),
                400: invalid_query(),
            },
        ),
        Operation(
            method="get",
            path=parked.PATH + "/{projection}/{position}",
            tag=TAG,
            summary="One parked event, whole",
            parameters=[name, Parameter("position", "path", POSITION, "The event's position.")],
            answers={
                **EVERYWHERE,
                200: Answer("The event.", {JSON: ParkedOne}),
                404: problem_answer("It is not parked.", "not_parked", "not_found"),
            },
        ),
        _change("retry", "Apply what is parked, in order", name, RETRY, {}),
        _change(
            "discard",
            "Go on without what is parked",
            name,
            DISCARD,
            {409: problem_answer("Another event of the key is before it.", "not_first")},
        ),
    ]


def _change(what: str, summary: str, name: Parameter, body: Schema, answers: Mapping[int, Answer]) -> Operation:
    return Operation(
        method="post",
        path=f"{parked.PATH}/{{projection}}/{what}",
        tag=TAG,
        summary=summary,
        parameters=[name],
        body={JSON: body},
        body_description="`key` is that of a row; `partition_key` that of events whose row cannot be told.",
        answers={
            **EVERYWHERE,
            200: Answer("What came of it.", {JSON: ParkedOutcome}),
            **answers,
            400: problem_answer(
                "The body is not as it must be.", "invalid_body", "unreadable_body", "malformed_request"
            ),
            404: problem_answer("Nothing is parked there.", "not_parked", "unknown_projection"),
            408: problem_answer("The request did not come in time.", "slow_head", "slow_body"),
            413: problem_answer("The body is too large.", "too_large"),
            415: problem_answer(
                "Not a media type or coding that is read here.",
                "unsupported_media_type",
                "unsupported_encoding",
                headers=("Accept-Encoding",),
            ),
            429: problem_answer("Too many large requests.", "too_many_bodies", headers=("Retry-After",)),
            503: unavailable("database_full"),
        },
    )


def _one_of(choices: Mapping[str, tuple[Schema, Schema]], beside: Mapping[str, Schema]) -> Schema:
    """An object with exactly one of these: by name the schema where it is chosen, and where it is not."""
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
