"""What OpenAPI cannot say about a request that is taken, put right in those that Schemathesis means to be taken."""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext
from schemathesis.core import NOT_SET

MOST_PARAMETERS = 50
BINARY = {"ce-specversion": "1.0", "ce-source": "/schemathesis", "ce-type": "anything.happened"}
STRUCTURED = {"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"}
# What test_schemathesis.py posts before.
SOURCE, ID, DEVICE, TYPE = "/devices", "1", "dev-1", "device.registered"
KEYS = {"devices": DEVICE, "event_types": TYPE}
_numbers = itertools.count(1)


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Called before every request."""
    is_meant_to_be_taken = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
    if case.path == "/api/v1/events" and case.method.upper() == "POST":
        _keep_one_mode(case)
        if is_meant_to_be_taken:
            _name_anew(case.body)
    elif is_meant_to_be_taken:
        _tidy_query(case)
        if next(_numbers) % 2:
            _ask_for_what_is_there(case)


def _keep_one_mode(case: Case[Any]) -> None:
    """The headers of an event in binary mode turn JSON into its data; any other type needs them, as they should be."""
    for name in [name for name in case.headers if name.lower().startswith("ce-")]:
        del case.headers[name]
    if case.body is NOT_SET or case.media_type not in STRUCTURED:
        case.headers.update(BINARY)
        case.headers["ce-id"] = f"binary-{next(_numbers)}"


def _name_anew(body: Any) -> None:
    """Each event under an id of its own: the same one with other content is refused.

    JSON Schema takes 5.0 for an integer; CloudEvents does not.
    """
    for event in body if isinstance(body, list) else [body]:
        if not isinstance(event, dict) or "id" not in event:
            continue
        event["id"] = f"structured-{next(_numbers)}"
        whole = {name: int(value) for name, value in event.items() if isinstance(value, float) and value.is_integer()}
        event.update({name: value for name, value in whole.items() if name != "data"})


def _ask_for_what_is_there(case: Case[Any]) -> None:
    if case.path == "/api/v1/events/status":
        case.query.update(source=SOURCE, id=ID)
    elif case.path.endswith("/{key}"):
        case.path_parameters["key"] = KEYS.get(case.path.split("/")[-2], case.path_parameters["key"])
    elif case.path.endswith("/{type}"):
        case.path_parameters["type"] = TYPE


def _tidy_query(case: Case[Any]) -> None:
    query = case.query
    for name in [name for name, value in query.items() if "hr_" in str(value)]:
        del query[name]  # a key that was made before: in a URL, keys are refused
    # A cursor is good for the query that gave it, and for no other.
    query.pop("cursor", None)
    if "as_of" in query:  # at most the newest event's position, and instead of an event to wait for
        for name in ("source", "id", "wait"):
            query.pop(name, None)
        query["as_of"] = 1
    if case.path.startswith("/api/v1/projections/") and {"source", "id", "wait"} & query.keys():
        query.setdefault("source", SOURCE)
        query.setdefault("id", ID)
        query["wait"] = "0"
    for name in [name for name in query if "[" in name][: max(len(query) - MOST_PARAMETERS, 0)]:
        del query[name]
