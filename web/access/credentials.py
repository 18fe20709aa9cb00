"""How a request is authenticated: each kind of credential has a verifier, and the first that knows the caller wins."""

from __future__ import annotations

from typing import Protocol

from aiohttp import hdrs, web

from headrace.access.caller import ANYBODY, Caller
from web.server.hot_paths import HotRequest
from web.server.problems import Problem

CHECK_SECONDS = 15.0
"""How often a request that lasts checks that its caller may still send it."""


class Verifier(Protocol):
    """Finds who presents a bearer token: `web.access.keys` for keys, `web.access.tokens` for JWT."""

    def is_meant(self, token: str) -> bool:
        """Whether the token has the form of this kind; cheap."""
        ...

    def known(self, token: str) -> Caller | None:
        """The caller if that is known without a query: called for each request, so it must be cheap."""
        ...

    async def caller(self, token: str) -> Caller | None:
        """The caller; None if the token is not valid, for whatever reason.

        Raises an error that `tables.database.is_away` accepts when nobody can tell now.
        """
        ...


class Admission:
    """Knows whether a caller may still do what it once was admitted for: `web.access.gate`."""

    async def still_admits(self, request: web.BaseRequest) -> bool:
        """Whether the caller of the request may still send it."""
        raise NotImplementedError


_CALLER = web.RequestKey("caller", Caller)
_GATE = web.RequestKey("gate", Admission)
"""Of a request that is not a HotRequest."""


def set_caller(request: web.BaseRequest, caller: Caller, gate: Admission | None = None) -> None:
    """Note who sent the request, and the gate that admitted the caller."""
    if isinstance(request, HotRequest):
        request.caller, request.gate = caller, gate
        return
    request[_CALLER] = caller
    if gate is not None:
        request[_GATE] = gate


def caller_of(request: web.BaseRequest) -> Caller:
    """Who sent the request; set before any view is called."""
    if isinstance(request, HotRequest):
        return request.caller
    caller: Caller = request.get(_CALLER, ANYBODY)
    return caller


async def still_admitted(request: web.BaseRequest) -> bool:
    """Whether the caller may still do what the request was admitted for; ask each CHECK_SECONDS while it lasts."""
    gate: Admission | None = request.gate if isinstance(request, HotRequest) else request.get(_GATE)
    return gate is None or await gate.still_admits(request)


def unauthorized() -> Problem:
    """401, the same for every cause."""
    detail = "This needs a valid key or token in the header Authorization: Bearer …"
    return Problem(401, "unauthorized", "Unauthorized", detail, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
