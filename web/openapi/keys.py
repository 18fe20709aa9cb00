"""The operations on API keys."""

from __future__ import annotations

from headrace.access.key_request import MOST_CHARACTERS, MOST_NAME_CHARACTERS, MOST_PATTERNS
from headrace.access.scopes import Scope
from web.openapi.document import Answer, Operation, Parameter, Schema
from web.openapi.shared import EVERYWHERE, JSON, WRITING, invalid_query, problem_answer, unavailable
from web.query import keys
from web.query.keys import KeysAnswer, MadeKey

TAG = "API keys"
CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
PRINTABLE = f"^[^{CONTROL}]*$"
CERTIFICATE = f"^(dns|uri|email):[^{CONTROL}]+$"
NOT_BLANK = rf"^[^{CONTROL}]*[^{CONTROL}\s][^{CONTROL}]*$"
DAYS = "([1-9][0-9]?|[12][0-9]{2}|3[0-5][0-9]|36[0-5])d"
HOURS = "([1-9][0-9]{0,2}|[1-7][0-9]{3}|8[0-6][0-9]{2}|87[0-5][0-9]|8760)h"
MINUTES = "([1-9][0-9]{0,4}|[1-4][0-9]{5}|5[01][0-9]{4}|52[0-4][0-9]{3}|525[0-5][0-9]{2}|525600)m"
DURATION: Schema = {"type": "string", "pattern": f"^({DAYS}|{HOURS}|{MINUTES})$"}
OVERLAP: Schema = {"type": "string", "pattern": f"^({DAYS}|{HOURS}|{MINUTES}|0[dhm])$"}
PATTERNS: Schema = {
    "anyOf": [
        {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_PATTERNS,
            "items": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS, "pattern": PRINTABLE},
        },
        {"type": "null"},
    ],
    "description": "Prefixes that end in /, or exact values; null: all.",
}
NEW_KEY: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": MOST_NAME_CHARACTERS, "pattern": NOT_BLANK},
        "scopes": {"type": "array", "minItems": 1, "items": {"enum": [scope.value for scope in Scope]}},
        "sources": PATTERNS,
        "subjects": PATTERNS,
        "types": PATTERNS,
        "certificate": {
            "anyOf": [
                {"type": "string", "maxLength": MOST_CHARACTERS, "pattern": CERTIFICATE},
                {"type": "null"},
            ],
            "description": "A name in a client certificate that authenticates as this key: dns:…, uri:… or email:….",
        },
        "expires": {**DURATION, "description": "How long the key lasts: days (d), hours (h) or minutes (m)."},
    },
    "required": ["name", "scopes"],
    "additionalProperties": False,
}
ROTATION: Schema = {
    "type": "object",
    "properties": {
        "overlap": {**OVERLAP, "description": "How long the old key stays valid."},
        "expires": {**DURATION, "description": "How long the new key lasts."},
    },
    "additionalProperties": False,
}
KEY = Parameter("key", "path", {"type": "string", "minLength": 1}, "The id of a key, or a name: all keys of that name.")
MADE = Answer("The key with its secret, which is shown this once.", {JSON: MadeKey}, ("Location",))
BODY_REFUSALS = {
    400: problem_answer("The body is not valid.", "invalid_body", "unreadable_body", "malformed_request"),
    408: problem_answer("The request was not complete in time.", "slow_head", "slow_body"),
    413: problem_answer("The body is too large.", "too_large"),
    415: problem_answer(
        "The media type or content coding is not supported.",
        "unsupported_media_type",
        "unsupported_encoding",
        headers=("Accept-Encoding",),
    ),
    429: problem_answer("Too many large requests.", "too_many_bodies", headers=("Retry-After",)),
    503: unavailable("database_full"),
}
UNKNOWN = problem_answer("There is no such key.", "unknown_api_key", "not_found")


def key_operations() -> list[Operation]:
    """List, make, show, rotate and revoke."""
    return [_list(), _create(), _show(), _rotate(), _revoke()]


def _list() -> Operation:
    every: Schema = {"type": "boolean", "default": False}
    return Operation(
        method="get",
        path=keys.PATH,
        tag=TAG,
        summary="The live keys, without their secrets",
        parameters=[Parameter("all", "query", every, "Whether expired and revoked keys are listed too.")],
        answers={**EVERYWHERE, 200: Answer("The keys, in order of name.", {JSON: KeysAnswer}), 400: invalid_query()},
    )


def _create() -> Operation:
    return Operation(
        method="post",
        path=keys.PATH,
        tag=TAG,
        summary="Make a key",
        body={JSON: NEW_KEY},
        body_description="What the key may do and touch. A key of the scope `admin` may make any key.",
        answers={
            **WRITING,
            **BODY_REFUSALS,
            201: MADE,
            409: problem_answer("A live key has this name, or this certificate.", "key_exists"),
        },
    )


def _show() -> Operation:
    return Operation(
        method="get",
        path=keys.PATH + "/{key}",
        tag=TAG,
        summary="The key of an id, or the keys of a name, newest first",
        parameters=[KEY],
        answers={
            **EVERYWHERE,
            200: Answer("The keys.", {JSON: KeysAnswer}),
            400: invalid_query(),
            404: UNKNOWN,
        },
    )


def _rotate() -> Operation:
    return Operation(
        method="post",
        path=keys.PATH + "/{key}/rotate",
        tag=TAG,
        summary="Make another key of the same name that may do the same",
        parameters=[KEY],
        body={JSON: ROTATION},
        body_description="The old key stays valid for the overlap.",
        answers={**WRITING, **BODY_REFUSALS, 201: MADE, 404: UNKNOWN},
    )


def _revoke() -> Operation:
    return Operation(
        method="post",
        path=keys.PATH + "/{key}/revoke",
        tag=TAG,
        summary="End the key of an id, or all keys of a name, at once",
        parameters=[KEY],
        answers={
            **WRITING,
            200: Answer("The keys that this request ended.", {JSON: KeysAnswer}),
            404: UNKNOWN,
            503: unavailable("database_full"),
        },
    )
