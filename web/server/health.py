"""`/livez` and `/readyz`, on both ports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec
from aiohttp import web

from tables.database import is_away
from tables.history.epochs import LostEvents
from tables.projections.stalls import Stall

CHECK_SECONDS = 2.0

Check = Callable[[], Awaitable[object]]
State = Literal["ok", "away"]
Reported = TypeVar("Reported")


class Liveness(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]


class Readiness(msgspec.Struct, omit_defaults=True):
    """Whether requests can be served."""

    status: Literal["ready", "not ready", "stopping"]
    dependencies: Mapping[str, State] | None = None
    """Only with `?verbose`."""
    stalled: Sequence[Stall] | None = None
    """Left out when no projection is stalled."""
    lost_events: Sequence[LostEvents] | None = None
    """Only with `?verbose`; left out when none were found in the last days. See docs/restore.md."""


ALIVE = msgspec.json.encode(Liveness("ok"))


class Health:
    """Alive: the process answers. Ready: it is not stopping, and the servers that its service needs answer."""

    def __init__(
        self,
        needs: Mapping[str, Check],
        uses: Mapping[str, Check] | None = None,
        stalls: Callable[[], Awaitable[Sequence[Stall]]] | None = None,
        *,
        lost_events: Callable[[], Awaitable[Sequence[LostEvents]]] | None = None,
    ) -> None:
        """`needs` decide whether it is ready; all others are only reported: the service works without."""
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
        checks = {**self._needs, **self._uses} if "verbose" in request.query else self._needs
        states = dict(zip(checks, await asyncio.gather(*map(_state, checks.values())), strict=True))
        ready = not self.stopping and all(states[name] == "ok" for name in self._needs)
        answer = Readiness("stopping" if self.stopping else "ready" if ready else "not ready")
        if "verbose" in request.query:
            answer.dependencies = states
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


async def _state(check: Check) -> State:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception:  # noqa: BLE001 - whatever it is: the dependency does not work; details stay in the log
        return "away"
    return "ok"
