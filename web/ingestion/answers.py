"""The answers to posted events."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Literal

import msgspec
from aiohttp import hdrs, web

from headrace.events.envelope import ParsedEvent
from headrace.events.outcome import Outcome
from headrace.events.refusals import NOT_KEPT, REFUSED, Refusal, taken_body
from web.ingestion.event_status import location
from web.requests.preferences import Preferences
from web.server.problems import Problem

JSON = "application/json"

ProblemText = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/ProblemDetails"})]


class Result(msgspec.Struct, omit_defaults=True):
    """The outcome of one event of a batch."""

    index: int
    id: str | None
    source: str | None
    status: Literal["accepted", "duplicate", "rejected"]
    error: ProblemText | None = None
    """Why it was rejected: the problem that the event alone would get."""


class Summary(msgspec.Struct):
    """The answer to a batch."""

    accepted: int
    duplicates: int
    rejected: int
    results: list[Result]

    @property
    def kept(self) -> list[tuple[str, str]]:
        """Source and id of the events that are stored, by this post or by an earlier one."""
        return [(one.source or "", one.id or "") for one in self.results if one.error is None]


def refused(refusal: Refusal) -> Problem:
    """The problem for an event that is refused."""
    return Problem(refusal.status, refusal.code, refusal.title, refusal.detail, errors=refusal.problem_errors)


def event_answer(event: ParsedEvent, outcome: Outcome, preferences: Preferences, *, waited: bool) -> web.Response:
    """The answer to an event that is stored."""
    headers = {hdrs.CONTENT_TYPE: JSON, **preferences.applied(waited=waited)}
    status = HTTPStatus.OK if outcome is Outcome.DUPLICATE else HTTPStatus.ACCEPTED
    if waited:
        status = HTTPStatus.CREATED
    if status is not HTTPStatus.OK:
        headers[hdrs.LOCATION] = location(event.source, event.id)
    return web.Response(body=taken_body(event, outcome), status=status, headers=headers)


def summarize(taken: Sequence[ParsedEvent | Refusal], outcomes: Sequence[Outcome], *, all_or_nothing: bool) -> Summary:
    """The outcome of each event of a batch; `outcomes` are those of its valid events, in order, or empty."""
    left = iter(outcomes)
    results = [
        _result(index, one, None if isinstance(one, Refusal) else next(left, None)) for index, one in enumerate(taken)
    ]
    if all_or_nothing and any(result.error is not None for result in results):
        for result in results:
            if result.error is None:
                result.status, result.error = "rejected", NOT_KEPT.body()
    statuses = [result.status for result in results]
    return Summary(statuses.count("accepted"), statuses.count("duplicate"), statuses.count("rejected"), results)


def batch_answer(summary: Summary, preferences: Preferences, *, waited: bool) -> web.Response:
    """The answer to a batch."""
    status = HTTPStatus.CREATED if waited else HTTPStatus.ACCEPTED
    if summary.rejected:
        refused_all = summary.rejected == len(summary.results)
        status = HTTPStatus.UNPROCESSABLE_ENTITY if refused_all else HTTPStatus.MULTI_STATUS
    headers = {hdrs.CONTENT_TYPE: JSON, **preferences.applied(waited=waited)}
    return web.Response(body=msgspec.json.encode(summary), status=status, headers=headers)


def _body(refusal: Refusal) -> msgspec.Raw:
    return _body_of(refusal.status, refusal.code, refusal.title, refusal.detail)


@lru_cache(maxsize=64)
def _body_of(status: int, code: str, title: str, detail: str) -> msgspec.Raw:
    return Refusal(status, code, title, detail).body()


def _result(index: int, taken: ParsedEvent | Refusal, outcome: Outcome | None) -> Result:
    if isinstance(taken, Refusal):
        return Result(index, taken.event_id, taken.source, "rejected", taken.body() if taken.errors else _body(taken))
    if outcome in REFUSED:
        return Result(index, taken.id, taken.source, "rejected", REFUSED[outcome].body())
    return Result(index, taken.id, taken.source, "duplicate" if outcome is Outcome.DUPLICATE else "accepted")
