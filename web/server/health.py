"""`/livez` and `/readyz`, on every port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec
from aiohttp import web

from headrace.process.action_log import in_words
from headrace.process.parts import OK, Condition, Parts, State
from headrace.process.secrets import without_secrets
from tables.database import is_away
from tables.history.epochs import LostEvents
from tables.projections.stalls import Stall

CHECK_SECONDS = 2.0

NOT_WORKING: frozenset[State] = frozenset({"starting", "waiting", "away", "failing"})

Check = Callable[[], Awaitable[object]]
Reported = TypeVar("Reported")


class Liveness(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]


class Dependency(msgspec.Struct, omit_defaults=True):
    """A server that the worker uses, or a part of the worker."""

    state: State
    reason: str = ""
    """Why it does not work; left out if it works."""


class Readiness(msgspec.Struct, omit_defaults=True):
    """Whether requests can be served, and whether all parts of the worker work that can."""

    status: Literal["ready", "not ready", "stopping"]
    problems: Mapping[str, str] | None = None
    """By dependency, why the worker is not ready; left out when it is."""
    dependencies: Mapping[str, Dependency] | None = None
    """Only with `?verbose`: all of them. Some do not decide whether the worker is ready."""
    stalled: Sequence[Stall] | None = None
    """Left out when no projection is stalled."""
    lost_events: Sequence[LostEvents] | None = None
    """Only with `?verbose`; left out when none were found in the last days. See docs/restore.md."""


ALIVE = msgspec.json.encode(Liveness("ok"))


class Health:
    """Alive: the process answers. Ready: it is not stopping, what its services need answers, and no part is failing."""

    def __init__(
        self,
        needs: Mapping[str, Check],
        uses: Mapping[str, Check] | None = None,
        stalls: Callable[[], Awaitable[Sequence[Stall]]] | None = None,
        *,
        lost_events: Callable[[], Awaitable[Sequence[LostEvents]]] | None = None,
        parts: Parts | None = None,
        needs_all_parts: bool = False,
    ) -> None:
        """`needs` and failing `parts` decide whether it is ready; all others are only reported: it works without.

        `needs_all_parts`: nothing is served here, so that it is ready only when all parts work.
        """
        self._parts = parts or Parts()
        self._fatal: frozenset[State] = NOT_WORKING if needs_all_parts else frozenset({"failing"})
        self._needs = needs
        self._uses = uses or {}
        self._stalls = stalls
        self._lost_events = lost_events
        self.stopping = False

    def routes(self) -> list[web.RouteDef]:
        """`/livez` and `/readyz`."""
        return [web.get("/livez", self._livez), web.get("/readyz", self._readyz)]

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(body=ALIVE, content_type="application/json")

    async def _readyz(self, request: web.Request) -> web.Response:
        is_verbose = "verbose" in request.query
        checks = {**self._needs, **self._uses} if is_verbose else self._needs
        checked = dict(zip(checks, await asyncio.gather(*map(_checked, checks.values())), strict=True))
        parts = self._parts.conditions()
        found = parts | checked
        problems = {
            name: without_secrets(one.reason)
            for name, one in found.items()
            if not one.works and (name in self._needs or (name in parts and one.state in self._fatal))
        }
        ready = not self.stopping and not problems
        answer = Readiness("stopping" if self.stopping else "ready" if ready else "not ready", problems or None)
        if is_verbose:
            answer.dependencies = {
                name: Dependency(one.state, without_secrets(one.reason)) for name, one in found.items()
            }
            answer.lost_events = await _reported(self._lost_events) or None
        answer.stalled = await _reported(self._stalls) or None
        return web.Response(
            body=msgspec.json.encode(answer), status=200 if ready else 503, content_type="application/json"
        )


async def _reported(report: Callable[[], Awaitable[Sequence[Reported]]] | None) -> Sequence[Reported]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await report() if report else ()
    except Exception as error:
        if not is_away(error):
            raise
        return ()  # the dependencies in the same answer say that it is away


async def _checked(check: Check) -> Condition:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever it is: the dependency does not work
        return Condition("away", in_words(error))
    return OK
