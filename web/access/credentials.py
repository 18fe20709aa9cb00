"""How a request is authenticated: each kind of credential has a verifier, and the first that knows the caller wins."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from headrace.access.caller import ANYBODY, Caller


class Verifier(Protocol):
    """Tells who presents a bearer token: `web.access.keys` for keys, `web.access.tokens` for JWT."""

    def is_meant(self, token: str) -> bool:
        """Whether the token looks like one of this kind; cheap."""
        ...

    def known(self, token: str) -> Caller | None:
        """The caller if that is known without a query: called for each request, so it must be cheap."""
        ...

    async def caller(self, token: str) -> Caller | None:
        """The caller; None if the token is not valid, for whatever reason.

        Raises an error that `tables.database.is_away` accepts when nobody can tell now.
        """
        ...


CALLER = web.RequestKey("caller", Caller)


def caller_of(request: web.BaseRequest) -> Caller:
    """Who sent the request; set before any view is called."""
    caller: Caller = request.get(CALLER, ANYBODY)
    return caller
