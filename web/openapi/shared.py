"""Answers that operations of both ports share, and the operations that both ports have."""

from __future__ import annotations

from headrace.events.problem_document import CONTENT_TYPE, ProblemDetails
from web.openapi.document import Answer, Operation, Parameter
from web.server.health import Liveness, Readiness

JSON = "application/json"
HTML = "text/html"
TEXT = {"type": "string"}
SELF = "This port"


def problem_answer(what: str, *codes: str, headers: tuple[str, ...] = ()) -> Answer:
    """An answer that is a problem with one of these codes."""
    return Answer(f"{what} Codes: {', '.join(codes)}.", {CONTENT_TYPE: ProblemDetails}, headers)


MALFORMED = problem_answer("The head of the request is not valid HTTP.", "malformed_request")
AWAY = ("database_away", "token_keys_away", "too_many_connections")
EVERYWHERE = {
    400: MALFORMED,
    408: problem_answer("The request was not complete in time.", "slow_head"),
    414: problem_answer("The path and its parameters are too long.", "target_too_long"),
    417: problem_answer("The Expect header is not 100-continue.", "expectation_failed"),
    421: problem_answer("The host of the request is not the server's.", "host_not_allowed"),
    429: problem_answer("The caller sends too much.", "rate_limited", headers=("Retry-After",)),
    431: problem_answer("A header is too long.", "header_too_large"),
    500: problem_answer("A server error; the log has the reason under `request_id`.", "internal_error"),
    503: problem_answer("Try again later.", *AWAY, headers=("Retry-After",)),
}
"""The problems that any request can get."""
WRITING = {
    **EVERYWHERE,
    403: problem_answer("A web page of another origin must not write here.", "origin_not_allowed"),
}
"""The problems that any request can get that is not GET."""
NOT_YOURS = problem_answer("The key may not touch this.", "not_yours")


def invalid_query(*more: str) -> Answer:
    """The answer to an invalid query string."""
    return problem_answer(
        "The query string is not valid for this path; `errors` names each wrong parameter.",
        "invalid_query",
        "malformed_request",
        *more,
    )


EXPENSIVE = ("too_many_reads", "query_too_long")
"""Codes of reads whose cost grows with the tables."""


def unavailable(*codes: str) -> Answer:
    """503, with codes of the path in addition to those of any path."""
    return problem_answer("Try again later.", *AWAY, *codes, headers=("Retry-After",))


SHARED = [
    Operation(
        method="get",
        path="/livez",
        tag=SELF,
        summary="Whether the process answers",
        answers={**EVERYWHERE, 200: Answer("The process answers.", {JSON: Liveness})},
    ),
    Operation(
        method="get",
        path="/readyz",
        tag=SELF,
        summary="Whether requests can be served now",
        parameters=[
            Parameter(
                "verbose", "query", TEXT, "With any value, the answer includes the state of each dependency and part."
            )
        ],
        answers={
            **EVERYWHERE,
            200: Answer("Requests can be served.", {JSON: Readiness}),
            503: Answer(
                "Not ready: a dependency is away, a part of the worker does not work, or the worker is stopping. "
                "A problem when there are too many connections.",
                {JSON: Readiness, CONTENT_TYPE: ProblemDetails},
                ("Retry-After",),
            ),
        },
    ),
    Operation(
        method="get",
        path="/metrics",
        tag=SELF,
        summary="Metrics for Prometheus",
        answers={
            **EVERYWHERE,
            200: Answer(
                "The metrics, in the format that the Accept header prefers.",
                {"text/plain": TEXT, "application/openmetrics-text": TEXT},
            ),
        },
    ),
    Operation(
        method="get",
        path="/openapi.json",
        tag=SELF,
        summary="This description as OpenAPI 3.1",
        answers={**EVERYWHERE, 200: Answer("The document.", {JSON: {"type": "object"}})},
    ),
    Operation(
        method="get",
        path="/docs",
        tag=SELF,
        summary="This description as a page to read",
        answers={**EVERYWHERE, 200: Answer("The page; it loads no other files.", {HTML: TEXT})},
    ),
]
