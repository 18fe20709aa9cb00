"""The door: `POST /api/v1/events`. An answer is sent only after the events are committed."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web

from app import rfc3339
from app.envelope import EnvelopeError, Event, InvalidEnvelope, Limits, parse_batch, parse_event
from app.event_types import EventTypes
from app.intake_counts import IntakeCounts
from tables.backlog import Backlog
from tables.group_commit import GroupCommit, Outcome, QueueFullError
from web.bodies import BodyBudget, read_body
from web.event_status import location
from web.hot_paths import HotPath
from web.problems import ProblemError, problem, problem_body, too_many

PATH = "/api/v1/events"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PLAIN = "application/json"
KINDS = (STRUCTURED, BATCH, PLAIN)
JSON_WHITE_SPACE = b" \t\r\n"
GOOD = {Outcome.ACCEPTED, Outcome.DUPLICATE}


class Refusal(msgspec.Struct, frozen=True):
    """Why an event is not taken."""

    status: int
    code: str
    title: str
    detail: str
    errors: Sequence[EnvelopeError] = ()
    event_id: str | None = None
    source: str | None = None

    @property
    def problem_errors(self) -> list[ProblemError]:
        return [ProblemError(pointer=e.pointer, code=e.code, detail=e.detail) for e in self.errors]

    def response(self) -> web.Response:
        return problem(self.status, self.code, self.title, self.detail, errors=self.problem_errors)

    def body(self) -> msgspec.Raw:
        return problem_body(self.status, self.code, self.title, self.detail, errors=self.problem_errors)


class Result(msgspec.Struct, omit_defaults=True):
    """What became of one event of a batch."""

    index: int
    id: str | None
    source: str | None
    status: str
    error: msgspec.Raw | None = None


class Summary(msgspec.Struct):
    """The answer to a batch."""

    accepted: int
    duplicates: int
    rejected: int
    results: list[Result]


CONFLICT = Refusal(
    409,
    "id_conflict",
    "Another event has this id",
    "An event with this source and id, but other content, was accepted before. Send it under an id of its own.",
)
UNSTORABLE = Refusal(
    400,
    "unstorable",
    "The database cannot hold this event",
    "A value in it is outside what PostgreSQL's jsonb or an index can hold, for example a number with too many digits.",
)
REFUSED = {Outcome.CONFLICT: CONFLICT, Outcome.UNSTORABLE: UNSTORABLE}


class Door:
    """The views of ingestion."""

    def __init__(
        self,
        group_commit: GroupCommit,
        event_types: EventTypes,
        limits: Limits,
        *,
        backlog: Backlog | None = None,
        body_budget: BodyBudget | None = None,
    ) -> None:
        self.counts = IntakeCounts()
        self._group_commit = group_commit
        self._event_types = event_types
        self._limits = limits
        self._backlog = backlog
        self._body_budget = body_budget or BodyBudget()

    def routes(self) -> list[web.RouteDef]:
        """The one route."""
        return [web.post(PATH, self.post_events)]

    def hot_path(self) -> HotPath:
        """The same, for a request as nearly all are."""
        return HotPath(PATH, lambda method, path: path == PATH and method == "POST", self.post_events)

    async def post_events(self, request: web.Request) -> web.Response:
        """Take one event or a batch."""
        if self._backlog is not None and (wait := self._backlog.retry_after_seconds) is not None:
            return too_many("outbox_full", "Too many events wait to be published.", wait)
        try:
            self._group_commit.check_room()
        except QueueFullError as error:
            return too_many("queue_full", str(error), error.retry_after_seconds)
        body = await read_body(request, KINDS, self._body_budget)
        if isinstance(body, web.Response):
            return body
        kind = request.content_type
        take = self._take_event
        if kind == BATCH or (kind == PLAIN and body.lstrip(JSON_WHITE_SPACE)[:1] == b"["):
            take = self._take_batch
        try:
            return await take(body)
        except QueueFullError as error:
            return too_many("queue_full", str(error), error.retry_after_seconds)

    async def _take_event(self, body: bytes) -> web.Response:
        try:
            event = parse_event(body, self._limits, rfc3339.now())
        except InvalidEnvelope as error:
            self.counts.rejected += 1
            return _invalid(error).response()
        if refusal := self._refusal(event):
            self.counts.rejected += 1
            return refusal.response()
        (outcome,) = await self._group_commit.submit([event])
        if outcome not in GOOD:
            self.counts.rejected += 1
            return REFUSED[outcome].response()
        answer = msgspec.json.encode({"id": event.id, "source": event.source, "status": outcome.value})
        if outcome is Outcome.DUPLICATE:
            self.counts.duplicate += 1
            return web.Response(body=answer, content_type="application/json")
        self.counts.accepted += 1
        headers = {"Location": location(event.source, event.id)}
        return web.Response(body=answer, status=202, headers=headers, content_type="application/json")

    async def _take_batch(self, body: bytes) -> web.Response:
        try:
            parsed = parse_batch(body, self._limits, rfc3339.now())
        except InvalidEnvelope as error:
            return _invalid(error).response()
        taken: list[Event | Refusal] = [
            _invalid(one) if isinstance(one, InvalidEnvelope) else self._refusal(one) or one for one in parsed
        ]
        events = [one for one in taken if isinstance(one, Event)]
        outcomes = iter(await self._group_commit.submit(events) if events else [])
        results = [
            _result(index, one, None if isinstance(one, Refusal) else next(outcomes)) for index, one in enumerate(taken)
        ]
        summary = _summary(results)
        self.counts.accepted += summary.accepted
        self.counts.duplicate += summary.duplicates
        self.counts.rejected += summary.rejected
        return _batch_answer(summary)

    def _refusal(self, event: Event) -> Refusal | None:
        if errors := self._event_types.errors(event):
            return Refusal(
                422,
                errors[0].code,
                "The event does not fit its type",
                "See errors for what is wrong and where.",
                errors,
                event.id,
                event.source,
            )
        return None


def _invalid(error: InvalidEnvelope) -> Refusal:
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        title, detail = "Too large", error.errors[0].detail
    else:
        title, detail = "Not a valid CloudEvent", "See errors for what is wrong and where."
    return Refusal(error.status, error.errors[0].code, title, detail, error.errors, error.id, error.source)


def _result(index: int, taken: Event | Refusal, outcome: Outcome | None) -> Result:
    if isinstance(taken, Refusal):
        return Result(index, taken.event_id, taken.source, "rejected", taken.body())
    if outcome in REFUSED:
        return Result(index, taken.id, taken.source, "rejected", REFUSED[outcome].body())
    return Result(index, taken.id, taken.source, "accepted" if outcome is Outcome.ACCEPTED else "duplicate")


def _summary(results: list[Result]) -> Summary:
    statuses = [result.status for result in results]
    return Summary(statuses.count("accepted"), statuses.count("duplicate"), statuses.count("rejected"), results)


def _batch_answer(summary: Summary) -> web.Response:
    status = 202
    if summary.rejected:
        status = 207 if summary.rejected < len(summary.results) else 422
    return web.Response(body=msgspec.json.encode(summary), status=status, content_type="application/json")
