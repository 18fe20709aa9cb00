"""The door: `POST /api/v1/events`. An answer is sent only after the events are committed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from aiohttp import hdrs, web

from headrace.events import rfc3339
from headrace.events.binary_mode import parse_binary
from headrace.events.envelope import Event, InvalidEnvelope, Limits, parse_batch, parse_event
from headrace.events.intake_counts import IntakeCounts
from headrace.events.known_types import EventTypes
from headrace.events.outcome import Outcome
from headrace.events.refusals import REFUSED, Refusal, invalid, misfit
from tables.intake.backlog import Backlog
from tables.intake.group_commit import GroupCommit, QueueFullError
from tables.projections.applied_events import AppliedEvents, Name
from web.ingestion.answers import batch_answer, event_answer, refused, summarize
from web.ingestion.content_modes import ContentMode, content_mode
from web.ingestion.event_headers import read_attributes
from web.requests.bodies import BodyBudget, read_body
from web.requests.preferences import Preferences, preferences
from web.requests.waiting_answers import are_applied
from web.server.hot_paths import HotPath
from web.server.problems import too_many

PATH = "/api/v1/events"
JSON_WHITE_SPACE = b" \t\r\n"


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
        applied: AppliedEvents | None = None,
    ) -> None:
        self.counts = IntakeCounts()
        self._group_commit = group_commit
        self._event_types = event_types
        self._limits = limits
        self._backlog = backlog
        self._body_budget = body_budget or BodyBudget()
        self._applied = applied

    def routes(self) -> list[web.RouteDef]:
        """The one route."""
        return [web.post(PATH, self.post_events)]

    def hot_path(self) -> HotPath:
        """The same, for a request as nearly all are."""
        return HotPath(PATH, lambda method, path: path == PATH and method == "POST", self.post_events)

    async def post_events(self, request: web.Request) -> web.Response:
        """Take one event or a batch."""
        if (no_room := self._no_room()) is not None:
            return no_room
        mode = content_mode(request)
        if isinstance(mode, web.Response):
            return mode
        body = await read_body(request, self._body_budget)
        if isinstance(body, web.Response):
            return body
        try:
            return await self._take(request, mode, body)
        except InvalidEnvelope as error:
            self.counts.rejected += 1
            return refused(invalid(error))
        except QueueFullError as error:
            return too_many("queue_full", str(error), error.retry_after_seconds)

    def _no_room(self) -> web.Response | None:
        if self._backlog is not None and (wait := self._backlog.retry_after_seconds) is not None:
            return too_many("outbox_full", "Too many events wait to be published.", wait)
        try:
            self._group_commit.check_room()
        except QueueFullError as error:
            return too_many("queue_full", str(error), error.retry_after_seconds)
        return None

    async def _take(self, request: web.Request, mode: ContentMode, body: bytes) -> web.Response:
        if mode is ContentMode.PLAIN and body.lstrip(JSON_WHITE_SPACE)[:1] == b"[":
            mode = ContentMode.BATCH
        if mode is ContentMode.BATCH:
            return await self._take_batch(request, parse_batch(body, self._limits, rfc3339.now()))
        return await self._take_event(request, self._parse(request, mode, body))

    def _parse(self, request: web.Request, mode: ContentMode, body: bytes) -> Event:
        if mode is not ContentMode.BINARY:
            return parse_event(body, self._limits, rfc3339.now())
        attributes = read_attributes(request.raw_headers)
        return parse_binary(attributes, request.headers.get(hdrs.CONTENT_TYPE), body, self._limits, rfc3339.now())

    async def _take_event(self, request: web.Request, event: Event) -> web.Response:
        if errors := self._event_types.errors(event):
            self.counts.rejected += 1
            return refused(misfit(event, errors))
        (outcome,) = await self._group_commit.submit([event])
        if outcome in REFUSED:
            self.counts.rejected += 1
            return refused(REFUSED[outcome])
        if outcome is Outcome.DUPLICATE:
            self.counts.duplicate += 1
        else:
            self.counts.accepted += 1
        asked = preferences(request)
        waited = asked.wait_seconds is not None and await self._wait(request, asked, [(event.source, event.id)])
        return event_answer(event, outcome, asked, waited=waited)

    async def _take_batch(self, request: web.Request, parsed: Sequence[Event | InvalidEnvelope]) -> web.Response:
        asked = preferences(request)
        taken = [invalid(one) if isinstance(one, InvalidEnvelope) else self._refusal(one) or one for one in parsed]
        events = [one for one in taken if isinstance(one, Event)]
        if asked.strict and len(events) < len(taken):
            events = []
        outcomes = await self._group_commit.submit(events, all_or_nothing=asked.strict) if events else []
        summary = summarize(taken, outcomes, all_or_nothing=asked.strict)
        self.counts.accepted += summary.accepted
        self.counts.duplicate += summary.duplicates
        self.counts.rejected += summary.rejected
        return batch_answer(summary, asked, waited=await self._wait(request, asked, summary.kept))

    async def _wait(self, request: web.Request, asked: Preferences, events: Collection[Name]) -> bool:
        if asked.wait_seconds is None or self._applied is None or not events:
            return False
        return await are_applied(request, self._applied, events, asked.wait_seconds)

    def _refusal(self, event: Event) -> Refusal | None:
        errors = self._event_types.errors(event)
        return misfit(event, errors) if errors else None
