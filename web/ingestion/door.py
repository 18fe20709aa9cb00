"""`POST /api/v1/events`. An answer is sent only after the events are committed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from http import HTTPStatus

from aiohttp import hdrs, web

from headrace.access.grant import EVERYTHING
from headrace.events import rfc3339
from headrace.events.binary_mode import parse_binary
from headrace.events.envelope import InvalidEnvelope, Limits, ParsedEvent, parse_element
from headrace.events.intake_counts import IntakeCounts
from headrace.events.known_types import EventTypes
from headrace.events.outcome import Outcome
from headrace.events.refusals import REFUSED, Refusal, invalid
from headrace.process.turns import off_the_loop
from tables.intake.backlog import Backlog
from tables.intake.group_commit import GroupCommit, QueueFullError
from tables.projections.applied_events import AppliedEvents, Name
from web.access.credentials import caller_of
from web.access.grants import limits_of
from web.access.limits import RateLimits
from web.ingestion.answers import batch_answer, event_answer, refused, summarize
from web.ingestion.content_modes import ContentMode, content_mode
from web.ingestion.event_headers import read_attributes
from web.ingestion.reading import EventReader
from web.requests.bodies import BodyBudget, read_body
from web.requests.preferences import Preferences, preferences
from web.requests.waiting_answers import are_applied
from web.server.hot_paths import HotPath
from web.server.problems import too_many

PATH = "/api/v1/events"
RESULT_BYTES = 16
"""So the answer to a batch of more than a thousand events is made in the thread."""
JSON_WHITE_SPACE = b" \t\r\n"


class Door:
    """Accepts events over HTTP, one or a batch at a time, and counts what becomes of them."""

    def __init__(
        self,
        group_commit: GroupCommit,
        event_types: EventTypes,
        limits: Limits,
        *,
        backlog: Backlog | None = None,
        body_budget: BodyBudget | None = None,
        applied: AppliedEvents | None = None,
        rates: RateLimits | None = None,
        noted: Callable[[web.Request, Refusal], None] = lambda _, __: None,
    ) -> None:
        """`noted` sees the first event of a batch that its caller may not send; a single event is its own problem."""
        self.counts = IntakeCounts()
        self._group_commit = group_commit
        self._limits = limits
        self._reader = EventReader(event_types, limits)
        self._backlog = backlog
        self._body_budget = body_budget or BodyBudget()
        self._applied = applied
        self._rates = rates or RateLimits()
        self._noted = noted

    def routes(self) -> list[web.RouteDef]:
        """`POST /api/v1/events`."""
        return [web.post(PATH, self.post_events)]

    def hot_path(self) -> HotPath:
        """The same path, without routing."""
        return HotPath("POST", PATH, PATH.__eq__, self.post_events)

    async def post_events(self, request: web.Request) -> web.Response:
        """Accept one event or a batch."""
        try:
            self._check_room()
            mode = content_mode(request)
            body = await read_body(request, self._body_budget)
            return await self._take(request, mode, body)
        except InvalidEnvelope as error:
            self.counts.rejected += 1
            raise refused(invalid(error)) from None
        except QueueFullError as error:
            raise too_many("queue_full", str(error), error.retry_after_seconds) from None

    def _check_room(self) -> None:
        if self._backlog is not None and (wait := self._backlog.retry_after_seconds) is not None:
            raise too_many("outbox_full", "Too many events wait to be published.", wait)
        self._group_commit.check_room()

    async def _take(self, request: web.Request, mode: ContentMode, body: bytes) -> web.Response:
        if mode is ContentMode.PLAIN and body.lstrip(JSON_WHITE_SPACE)[:1] == b"[":
            mode = ContentMode.BATCH
        grant = limits_of(request) or EVERYTHING
        if mode is ContentMode.BATCH:
            self._check_rates(request, 0, len(body))
            taken = await self._reader.batch(body, grant)
            self._check_rates(request, len(taken), 0)
            return await self._take_batch(request, taken)
        self._check_rates(request, 1, len(body))
        event = await self._reader.event(lambda: self._parse(request, mode, body), len(body), grant)
        return await self._take_event(request, event)

    def _check_rates(self, request: web.Request, events: int, size_bytes: int) -> None:
        if self._rates.limits_events:
            self._rates.check_events(caller_of(request), events, size_bytes)

    def _parse(self, request: web.Request, mode: ContentMode, body: bytes) -> ParsedEvent | InvalidEnvelope:
        if mode is not ContentMode.BINARY:
            return parse_element(body, self._limits, rfc3339.now())
        attributes = read_attributes(request.raw_headers)
        content_type = request.headers.get(hdrs.CONTENT_TYPE)
        return parse_binary(attributes, content_type, body, self._limits, rfc3339.now())

    async def _take_event(self, request: web.Request, event: ParsedEvent | Refusal) -> web.Response:
        if isinstance(event, Refusal):
            self.counts.rejected += 1
            raise refused(event)
        (outcome,) = await self._group_commit.submit([event], caller=caller_of(request).id)
        if outcome in REFUSED:
            self.counts.rejected += 1
            raise refused(REFUSED[outcome])
        if outcome is Outcome.DUPLICATE:
            self.counts.duplicate += 1
        else:
            self.counts.accepted += 1
        asked = preferences(request)
        waited = asked.wait_seconds is not None and await self._wait(request, asked, [(event.source, event.id)])
        return event_answer(event, outcome, asked, waited=waited)

    async def _take_batch(self, request: web.Request, taken: Sequence[ParsedEvent | Refusal]) -> web.Response:
        asked = preferences(request)
        events = [one for one in taken if isinstance(one, ParsedEvent)]
        if len(events) < len(taken):
            self._note_forbidden(request, taken)
        if asked.strict and len(events) < len(taken):
            events = []
        outcomes = []
        if events:
            caller = caller_of(request).id
            outcomes = await self._group_commit.submit(events, all_or_nothing=asked.strict, caller=caller)
        size = len(taken) * RESULT_BYTES
        summary = await off_the_loop(lambda: summarize(taken, outcomes, all_or_nothing=asked.strict), size)
        self.counts.accepted += summary.accepted
        self.counts.duplicate += summary.duplicates
        self.counts.rejected += summary.rejected
        waited = await self._wait(request, asked, summary.kept)
        return await off_the_loop(lambda: batch_answer(summary, asked, waited=waited), size)

    def _note_forbidden(self, request: web.Request, taken: Sequence[ParsedEvent | Refusal]) -> None:
        forbidden = (one for one in taken if isinstance(one, Refusal) and one.status == HTTPStatus.FORBIDDEN)
        if (first := next(forbidden, None)) is not None:
            self._noted(request, first)

    async def _wait(self, request: web.Request, asked: Preferences, events: Collection[Name]) -> bool:
        if asked.wait_seconds is None or self._applied is None or not events:
            return False
        return await are_applied(request, self._applied, events, asked.wait_seconds)
