"""The operations of the ingestion port."""

from __future__ import annotations

from headrace.events.problem_document import CONTENT_TYPE, ProblemDetails
from headrace.events.refusals import Taken
from web.ingestion import door, event_status, event_types
from web.ingestion.answers import Summary
from web.ingestion.content_modes import BATCH_TYPE, PLAIN_TYPE, STRUCTURED_TYPE
from web.ingestion.event_status import Story
from web.ingestion.event_types import SCHEMA_TYPE, EventTypesAnswer
from web.openapi.document import Answer, Operation, Parameter, reference
from web.openapi.event_schemas import BATCH, EVENT
from web.openapi.shared import EVERYWHERE, JSON, NOT_YOURS, SHARED, TEXT, WRITING, problem_answer, unavailable

TAG = "Events"
TYPES_TAG = "Event types"
RETRY_AFTER = ("Retry-After",)
ENVELOPE = (
    "An event is not a valid CloudEvent, or the body cannot be read; `errors` has a JSON pointer and a code for each "
    "error."
)
BODY = (
    "One event, or a batch. A body of any other media type is the data of an event in binary mode: its attributes are "
    "in `ce-` headers, percent-encoded. With `ce-specversion` or `ce-id`, application/json is binary mode too. "
    "`Content-Encoding` may be gzip or zstd."
)
PREFER = Parameter(
    "Prefer",
    "header",
    TEXT,
    "RFC 7240. `wait=N` delays the answer, at most N seconds, until every projection has applied the events. "
    "`handling=strict` accepts all events of a batch or none. Other preferences are ignored.",
)
ATTRIBUTES = [
    Parameter(f"ce-{name}", "header", TEXT, f"In binary mode: the attribute `{name}`, percent-encoded.")
    for name in ("specversion", "id", "source", "type", "subject", "time", "dataschema", "partitionkey")
]

OPERATIONS = [
    Operation(
        method="post",
        path=door.PATH,
        tag=TAG,
        summary="Send one event, or a batch",
        description="The answer is sent after the accepted events are committed in PostgreSQL.",
        parameters=[PREFER, *ATTRIBUTES],
        body={
            STRUCTURED_TYPE: reference(EVENT),
            BATCH_TYPE: reference(BATCH),
            PLAIN_TYPE: {"anyOf": [reference(EVENT), reference(BATCH)]},
            "*/*": {},
        },
        body_description=BODY,
        body_is_required=False,  # an event in binary mode may have no data
        answers={
            **WRITING,
            200: Answer("A duplicate: the same event was accepted before.", {JSON: Taken}, ("Preference-Applied",)),
            201: Answer(
                "Accepted, and applied by every projection (`Prefer: wait`).",
                {JSON: (Taken, Summary)},
                ("Location", "Preference-Applied"),
            ),
            202: Answer(
                "Accepted; in a batch, all events.", {JSON: (Taken, Summary)}, ("Location", "Preference-Applied")
            ),
            207: Answer("Some events of the batch are refused.", {JSON: Summary}, ("Preference-Applied",)),
            400: problem_answer(ENVELOPE, "malformed_json", "missing_attribute", "unreadable_body", "…"),
            403: problem_answer(
                "The key may not touch this event; or a web page of another origin must not write here.",
                "not_yours",
                "origin_not_allowed",
            ),
            408: problem_answer("The request was not complete in time.", "slow_head", "slow_body"),
            409: problem_answer(
                "An event with this source and id but other content was accepted before.", "id_conflict"
            ),
            413: problem_answer(
                "The body, an event, or the batch is too large.", "too_large", "packed_too_well", "event_too_large", "…"
            ),
            415: problem_answer(
                "The media type or content coding is not supported.",
                "unsupported_media_type",
                "unsupported_encoding",
                headers=("Accept-Encoding",),
            ),
            422: Answer(
                "The data does not fit the event's type; or no event of a batch is accepted.",
                {CONTENT_TYPE: ProblemDetails, JSON: Summary},
                ("Preference-Applied",),
            ),
            429: problem_answer(
                "Too many events wait, or the caller sends too many.",
                "outbox_full",
                "queue_full",
                "too_many_bodies",
                "rate_limited",
                headers=RETRY_AFTER,
            ),
            503: unavailable("database_full"),
        },
    ),
    Operation(
        method="get",
        path=event_status.PATH,
        tag=TAG,
        summary="The progress of an event",
        parameters=[
            Parameter("source", "query", TEXT, "The event's source.", is_required=True),
            Parameter("id", "query", TEXT, "The event's id.", is_required=True),
        ],
        answers={
            **EVERYWHERE,
            200: Answer("The event's story.", {JSON: Story}),
            400: problem_answer(
                "The parameters are not exactly source and id.", "invalid_parameter", "malformed_request"
            ),
            403: NOT_YOURS,
            404: problem_answer("No such event was accepted.", "event_not_found"),
        },
    ),
    Operation(
        method="get",
        path=event_types.PATH,
        tag=TYPES_TAG,
        summary="The event types that projections handle",
        description="Each with the JSON Schema of its data.",
        answers={**EVERYWHERE, 200: Answer("The event types, by name.", {JSON: EventTypesAnswer})},
    ),
    Operation(
        method="get",
        path=event_types.PATH + "/{type}",
        tag=TYPES_TAG,
        summary="The schema of one event type",
        description="A separate document, to which `dataschema` can refer.",
        parameters=[Parameter("type", "path", {"type": "string", "minLength": 1}, "The event type.")],
        answers={
            **EVERYWHERE,
            200: Answer("The JSON Schema of the data.", {SCHEMA_TYPE: {"type": "object"}}),
            404: problem_answer("No projection handles this type.", "event_type_not_found"),
        },
    ),
    *SHARED,
]
