"""Which hosts and origins a port answers, checked before anything else of a request.

A web page can make a browser send requests to a worker on loopback or in a private network. Rebinding the page's name
to that address makes them same-origin, so that the page can read the answers. The `Host` header shows the page's name.
A page that only posts is known by `Origin` and `Sec-Fetch-Site`, which a browser adds and a page cannot change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import hdrs, web

from headrace.process.host_names import address, host_of, is_loopback, is_same_origin
from web.server.problems import Problem

READS = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = "GET, HEAD, POST"
EXPOSED = "ETag, Location, Retry-After, Preference-Applied, X-Request-Id"
PREFLIGHT_SECONDS = 600
MOST_REMEMBERED = 1_000
ANY = "*"
NO_HEADERS: Mapping[str, str] = {}


class Guard:
    """Checks the `Host` and the `Origin` of every request of a port."""

    def __init__(self, *, hosts: Iterable[str] = (), origins: Iterable[str] = (), listens_on: str = "") -> None:
        """`hosts` are allowed besides loopback and `listens_on`: names, `.name` with its subdomains, or `*`.

        `origins` are those of foreign pages that may read and post (CORS).
        """
        names = {*hosts, listens_on.lower()} - {""}
        self._allows_all = ANY in names
        self._names = {name.lstrip(".") for name in names}
        self._suffixes = tuple(name for name in names if name.startswith("."))
        self._addresses = {found for name in names if (found := address(name)) is not None}
        self._origins = frozenset(origins)
        self._answered: set[str] = set()
        """`Host` headers that were allowed, as they came."""

    def refusal(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a request that goes no further: a refusal, or that to a preflight request of CORS."""
        headers = request.headers
        host = headers.get(hdrs.HOST)
        if (host not in self._answered or request.raw_path[:1] != "/") and not self._allows(request, host):
            detail = "This server does not answer for the host of the request. ALLOWED_HOSTS lists its names."
            return Problem(421, "host_not_allowed", "Host not allowed", detail).answer(request)
        if request.method in READS:
            return self._preflight(request) if request.method == "OPTIONS" and self._origins else None
        origin, site = headers.get(hdrs.ORIGIN), headers.get("Sec-Fetch-Site")
        if origin is None and site is None:
            return None
        is_foreign = site == "cross-site" or (origin is not None and not is_same_origin(origin, host or ""))
        if is_foreign and origin not in self._origins:
            detail = "A web page of another origin must not write here. CORS_ORIGINS lists the origins that may."
            return Problem(403, "origin_not_allowed", "Origin not allowed", detail).answer(request)
        return None

    def headers(self, request: web.BaseRequest) -> Mapping[str, str]:
        """What CORS adds to every answer; nothing where no origin is allowed."""
        if not self._origins:
            return NO_HEADERS
        origin = request.headers.get(hdrs.ORIGIN)
        if origin not in self._origins:
            return {hdrs.VARY: hdrs.ORIGIN}
        return {
            hdrs.VARY: hdrs.ORIGIN,
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin,
            hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: EXPOSED,
        }

    def _allows(self, request: web.BaseRequest, header: str | None) -> bool:
        if self._allows_all:
            return True
        if request.raw_path[:1] not in "/*" and not self._is_ours(request, request.url.raw_host or ""):
            return False  # the target has a host of its own, which overrides the header
        if header is None:
            return True  # HTTP/1.0, which no browser speaks
        host = host_of(header)
        if host is None or not self._is_ours(request, host):
            return False
        if len(self._answered) < MOST_REMEMBERED and request.raw_path[:1] == "/":
            self._answered.add(header)
        return True

    def _is_ours(self, request: web.BaseRequest, host: str) -> bool:
        if host in self._names or host.endswith(self._suffixes) or is_loopback(host):
            return True
        found = address(host)
        return found is not None and (found in self._addresses or found == _reached_at(request))

    def _preflight(self, request: web.BaseRequest) -> web.Response | None:
        if (
            request.headers.get(hdrs.ORIGIN) not in self._origins
            or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers
        ):
            return None
        headers: dict[str, str] = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
        }
        if (asked := request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)) is not None:
            headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = asked
        if request.headers.get("Access-Control-Request-Private-Network") == "true":
            headers["Access-Control-Allow-Private-Network"] = "true"
        return web.Response(status=204, headers=headers)


def _reached_at(request: web.BaseRequest) -> object:
    """The own address that the client has connected to: a health check or a load balancer may use no name."""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("sockname")
    return address(name[0]) if isinstance(name, tuple) else None
