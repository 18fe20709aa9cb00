"""Who may pass: a middleware that authenticates each request, and refuses what its scopes do not allow.

It runs before a view, hence before a body is read or asked for. Paths that do not exist are refused too, so that a
client without a key learns nothing. Where AUTH is off, no application has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from functools import partial
from typing import cast

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from headrace.access.caller import NOBODY, Caller
from headrace.access.key_text import PREFIX, has_key
from headrace.access.refusals import Refusals
from headrace.errors import HeadraceError
from tables.database import is_away
from web.access.addresses import ClientAddresses
from web.access.certificates import CertificateVerifier, peer_identity
from web.access.credentials import Admission, Verifier, caller_of, set_caller, unauthorized
from web.access.limits import RateLimits
from web.access.route_scopes import DOCUMENTATION, OPEN, ROUTE_SCOPES, WITH_PARAMETER, Need, Route
from web.server.hot_paths import HotRequest, View
from web.server.problems import Problem

SCHEME = "bearer "
USUAL_SCHEME = "Bearer "
SCHEME_LENGTH = len(SCHEME)


class UnscopedRouteError(HeadraceError):
    """A route has no scope in web/access/route_scopes.py."""


class Gate(Admission):
    """Authenticates requests with the first verifier that a token is meant for; a middleware."""

    __middleware_version__ = 1

    def __init__(
        self,
        verifiers: Sequence[Verifier],
        refusals: Refusals,
        *,
        limits: RateLimits | None = None,
        addresses: ClientAddresses | None = None,
        certificates: CertificateVerifier | None = None,
        open_docs: bool = False,
    ) -> None:
        """`limits` of each caller, and of failures of each address; `open_docs`: the documentation needs no key.

        `certificates` authenticate requests without the header `Authorization`.
        """
        self._certificates = certificates
        self._limits = limits or RateLimits()
        self._addresses = addresses or ClientAddresses()
        self._verifiers = tuple(verifiers)
        self._known_by = verifiers[0].known if len(verifiers) == 1 else self._known_by_any
        self._refusals = refusals
        needs = {**ROUTE_SCOPES, **(dict.fromkeys(DOCUMENTATION, OPEN) if open_docs else {})}
        heads = {("HEAD", path): need for (method, path), need in needs.items() if method == "GET"}
        self._needs: dict[Route, Need] = needs | heads
        self._by_parameter = {
            (method, path): (name, need)
            for ((_, path), name), need in WITH_PARAMETER.items()
            for method in ("GET", "HEAD")
        }

    def check_routes(self, routes: Iterable[web.AbstractRoute]) -> None:
        """Raises UnscopedRouteError for a route that nobody decided about."""
        for route in routes:
            path = "" if route.resource is None else route.resource.canonical
            if (route.method, path) not in self._needs:
                raise UnscopedRouteError(f"{route.method} {path} has no scope in web/access/route_scopes.py")

    # No coroutine of its own for a caller who is known.
    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """The middleware: to be inside `web.server.problems.problems`, outside all views."""
        need = self._need(request)
        if need is not None and not need:
            set_caller(request, NOBODY)
            return handler(request)
        caller = self._known(request)
        if caller is None:
            return self._introduced(request, need, handler)
        set_caller(request, caller, self)
        self._check(caller, need)
        return handler(request)

    def around(self, method: str, route: str, view: View) -> View:
        """The same around the view of a hot path: faster for known bearers, since there is no query string."""
        need = self._needs[method, route]
        if not need:
            return partial(self, handler=view)
        known_by = self._known_by

        def admitted(request: HotRequest) -> Awaitable[web.StreamResponse]:
            given = request.headers.getall(hdrs.AUTHORIZATION, ())
            if len(given) != 1 or not given[0].startswith(USUAL_SCHEME):
                return self(request, view)
            caller = known_by(given[0][SCHEME_LENGTH:])
            if caller is None:
                return self(request, view)
            request.caller, request.gate = caller, self
            self._check(caller, need)
            return view(request)

        return cast("View", admitted)

    def _check(self, caller: Caller, need: Need | None) -> None:
        """Raises Problem if the caller may not send this, or not now."""
        if need is not None and need.isdisjoint(caller.scopes):
            self._refusals.add("scope")
            raise _scope_missing(need)
        if self._limits.limits_requests:
            self._limits.check_request(caller)

    async def still_admits(self, request: web.BaseRequest) -> bool:
        """Whether the caller of a request that was admitted is the same today, with no fewer scopes.

        False too where nobody can tell any more.
        """
        try:
            caller = self._known(request) or await self._authenticated(request)
        except Exception as error:
            if not is_away(error):
                raise
            return False
        before = caller_of(request)
        return caller is not None and caller.id == before.id and caller.scopes >= before.scopes

    def _need(self, request: web.Request) -> Need | None:
        """What the route needs; None if there is no such route, or not with this method."""
        if (hot_route := getattr(request, "hot_route", None)) is not None:
            return self._needs.get((request.method, hot_route))
        route = (request.method, _pattern(request))
        parameter = self._by_parameter.get(route)
        if parameter is not None and parameter[0] in request.query:
            return parameter[1]
        return self._needs.get(route)

    def _known(self, request: web.BaseRequest) -> Caller | None:
        token = _token(request)
        if token is not None:
            return self._known_by(token)
        return None if self._certificates is None or _shows_a_key(request) else self._certificates.known(request)

    def _known_by_any(self, token: str) -> Caller | None:
        for verifier in self._verifiers:  # what is not meant for it, it does not know
            if (caller := verifier.known(token)) is not None:
                return caller
        return None

    async def _introduced(self, request: web.Request, need: Need | None, handler: Handler) -> web.StreamResponse:
        """Authenticate a caller who is not known. An address that failed too often is refused before anything else."""
        address = self._addresses.limited(request)
        self._limits.check_address(address)
        caller = await self._authenticated(request)
        if caller is None:
            self._limits.note_failure(address)
            raise unauthorized()
        set_caller(request, caller, self)
        self._check(caller, need)
        return await handler(request)

    async def _authenticated(self, request: web.BaseRequest) -> Caller | None:
        token = _token(request)
        if token is None:
            if self._certificates is not None and not _shows_a_key(request):
                caller = await self._certificates.caller(request)
                if caller is None:
                    self._refusals.add("missing" if peer_identity(request) is None else "unknown")
                return caller
            given = hdrs.AUTHORIZATION in request.headers
            self._refusals.add("in_url" if _has_key_in_url(request) else "malformed" if given else "missing")
            return None
        for verifier in self._verifiers:
            if verifier.is_meant(token):
                return await verifier.caller(token)
        self._refusals.add("malformed")
        return None


def _token(request: web.BaseRequest) -> str | None:
    """The bearer token of the one header that may carry it; None also if a key is in the URL, where logs show it."""
    return None if PREFIX in request.raw_path and _has_key_in_url(request) else _bearer_token(request)


def _bearer_token(request: web.BaseRequest) -> str | None:
    given = request.headers.getall(hdrs.AUTHORIZATION, ())
    if len(given) != 1:
        return None
    scheme = given[0][:SCHEME_LENGTH]
    return given[0][SCHEME_LENGTH:] if scheme == USUAL_SCHEME or scheme.lower() == SCHEME else None


def _shows_a_key(request: web.BaseRequest) -> bool:
    """Whether the request has credentials beside a certificate: those count, also where they are not valid."""
    return hdrs.AUTHORIZATION in request.headers or _has_key_in_url(request)


def _has_key_in_url(request: web.BaseRequest) -> bool:
    path = request.raw_path
    return PREFIX in path and has_key(path.partition("?")[2])


def _pattern(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _scope_missing(need: Need) -> Problem:
    names = ", ".join(sorted(need))
    detail = f"The key is valid, but it has none of the scopes that this needs: {names}."
    headers: dict[str, str] = {
        hdrs.WWW_AUTHENTICATE: f'Bearer error="insufficient_scope", scope="{" ".join(sorted(need))}"'
    }
    return Problem(403, "scope_missing", "Scope missing", detail, headers=headers)
