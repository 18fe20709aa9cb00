"""What requests add to the access log. Nothing here waits: entries are written in the background."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import web

from headrace.access.access_log import NO_DETAIL, Action, ActionOutcome, Detail, Entry
from headrace.access.pending_entries import PendingEntries
from headrace.events.refusals import Refusal
from web.access.addresses import ClientAddresses
from web.access.credentials import caller_of
from web.server.problems import Problem
from web.server.request_ids import id_of
from web.server.request_times import route_of

REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class WhoDidWhat:
    """Makes entries from requests. A worker has one instance."""

    def __init__(self, pending: PendingEntries | None = None, addresses: ClientAddresses | None = None) -> None:
        """Without `pending`, nobody writes the entries."""
        self._pending = PendingEntries(time.monotonic) if pending is None else pending
        self._addresses = addresses or ClientAddresses()

    def done(
        self,
        request: web.Request,
        action: Action,
        target: str,
        *,
        detail: Detail = NO_DETAIL,
        outcome: ActionOutcome = ActionOutcome.DONE,
        status: int | None = HTTPStatus.OK,
    ) -> None:
        """Add what the caller of this request did."""
        self._pending.add(self.entry(request, action, target, detail=detail, outcome=outcome, status=status))

    @contextmanager
    def doing(self, request: web.Request, action: Action, target: str) -> Iterator[dict[str, str | int]]:
        """Add what is done in the body of `with`, also where that fails; its value is the detail of the entry."""
        detail: dict[str, str | int] = {}
        try:
            yield detail
        except Problem as problem:
            self.done(request, action, target, detail=detail, outcome=ActionOutcome.REFUSED, status=problem.status)
            raise
        except BaseException:
            self.done(request, action, target, detail=detail, outcome=ActionOutcome.FAILED, status=None)
            raise
        else:
            self.done(request, action, target, detail=detail)

    def who(self, request: web.Request) -> str:
        """The caller, for people."""
        caller, address = caller_of(request), self._addresses.of(request)
        return f"{caller.id} ({caller.name}) at {address}" if caller.id else f"the API's caller at {address}"

    def read(self, request: web.Request, action: Action) -> None:
        """Add that the caller of this request read a log or the keys; not where nobody is authenticated."""
        if caller_of(request).id:
            self.done(request, action, route_of(request))

    def refused(self, request: web.Request, problem: Problem | Refusal) -> None:
        """Add a refusal: the problem 401 or 403 that the request gets, or that an event of its batch gets."""
        if problem.status in REFUSALS:
            target, detail = f"{request.method} {route_of(request)}", {"code": problem.code}
            self.done(
                request,
                Action.REQUEST_REFUSED,
                target,
                detail=detail,
                outcome=ActionOutcome.REFUSED,
                status=problem.status,
            )

    def entry(
        self,
        request: web.Request,
        action: Action,
        target: str,
        *,
        detail: Detail = NO_DETAIL,
        outcome: ActionOutcome = ActionOutcome.DONE,
        status: int | None = HTTPStatus.OK,
    ) -> Entry:
        """An entry about this request, for `tables.access.access_log.record` in the transaction of the action."""
        caller = caller_of(request)
        return Entry(
            action,
            caller.id,
            caller.name,
            target,
            outcome,
            status,
            self._addresses.of(request) or None,
            id_of(request),
            detail,
            datetime.now(UTC),
        )
