"""An aiohttp application on its port, as a service of the Faust app."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Iterable, Sequence
from errno import EACCES, EADDRINUSE
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from mode import Service

from headrace.errors import StartError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from web.server.certificates import Certificates
from web.server.expectations import with_late_continue
from web.server.guard import Guard
from web.server.health import Health
from web.server.hot_paths import HotPath, View, take_short_cuts
from web.server.open_files import allow_connections
from web.server.port import ConnectionLimits, Connections, Runner
from web.server.problems import Noted, answering_problems, common_headers, not_noted
from web.server.request_times import RequestTimes
from web.server.tls_files import TlsFiles

# How long requests in flight may run when the worker stops.
SHUTDOWN_SECONDS = 3.0

log = ActionLog(__name__)


class Gatekeeper(Protocol):
    """Decides which requests reach a view: `web.access.gate`."""

    def check_routes(self, routes: Iterable[web.AbstractRoute]) -> None:
        """Raises HeadraceError for a route about which nothing is decided."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """The middleware: raises Problem instead of calling a view that the client may not call."""

    def around(self, method: str, route: str, view: View) -> View:
        """The same around the view of a hot path."""


def make_application(
    routes: Iterable[web.AbstractRouteDef],
    max_body_bytes: int,
    times: RequestTimes | None = None,
    *,
    gate: Gatekeeper | None = None,
    noted: Noted = not_noted,
) -> web.Application:
    """An application whose errors are problems (RFC 9457), which `noted` sees.

    `times` measures its requests, `gate` admits them.
    """
    problems = answering_problems(noted)
    middlewares: list[Middleware] = [problems] if times is None else [times.middleware(), problems]
    if gate is not None:
        middlewares.append(gate)
    # web/requests/bodies.py decompresses bodies: aiohttp has no limit for the memory that a zstd frame asks for.
    arguments = {"auto_decompress": False}
    application = web.Application(middlewares=middlewares, client_max_size=max_body_bytes, handler_args=arguments)
    application.add_routes(with_late_continue(routes))
    if gate is not None:
        gate.check_routes(application.router.routes())
    application.on_response_prepare.append(common_headers)
    return application


class HttpServer(Service):
    """Listens from its start until `drain`, which comes first at shutdown: no requests arrive while the rest stops."""

    def __init__(
        self,
        application: web.Application,
        host: str,
        port: int,
        health: Health,
        *,
        service: str,
        hot_paths: Sequence[HotPath] = (),
        max_connections: int = 1_000,
        limits: ConnectionLimits | None = None,
        guard: Guard | None = None,
        is_optional: bool = False,
        tls: TlsFiles | None = None,
    ) -> None:
        """`service` is the prefix of the settings for host and port; without a `guard`, only loopback is answered.

        `limits` override `max_connections`. An optional server is left out, with a warning, if its port is not free.
        With `tls` it speaks HTTPS only.
        """
        super().__init__()
        self.application = application
        self._host = host
        self._port = port
        self._service = service
        self._health = health
        self._hot_paths = hot_paths
        self._limits = limits or ConnectionLimits(max_connections, max_connections)
        self._guard = guard or Guard(listens_on=host)
        self._is_optional = is_optional
        self.certificates = None if tls is None else Certificates(tls, self._use)
        self._runner: web.AppRunner | None = None

    async def on_start(self) -> None:
        """Listen. Raises StartError when the address is not available."""
        allow_connections(self._limits.most)
        self._runner = Runner(
            self.application, limits=self._limits, shutdown_seconds=SHUTDOWN_SECONDS, service=self._service
        )
        await self._runner.setup()
        if self.certificates is not None:
            self.certificates.start()
        if self._runner.server is not None:
            take_short_cuts(self._runner.server, self.application, self._hot_paths, self._guard)
        try:
            await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        except OSError as error:
            if not self._is_optional:
                raise StartError(self._refusal(error)) from error
            runner, self._runner = self._runner, None
            await runner.cleanup()
            log.warning(
                LogAction.HEALTH_UNSERVED,
                "Health and metrics of this worker are not served, because {host}:{port} is in use ({error}). "
                "Set HEALTH_PORT to a free port",
                host=self._host,
                port=self._port,
                error=error.strerror,
            )

    def _use(self, context: ssl.SSLContext) -> None:
        server = None if self._runner is None else self._runner.server
        if isinstance(server, Connections):
            server.tls = context

    @Service.task
    async def _watch_certificates(self) -> None:
        if self.certificates is not None:
            await self.certificates.watch()

    async def problems(self) -> list[str]:
        """Why it could not serve now, before it does; usually empty. An optional server needs no port."""
        found = [] if self.certificates is None else self.certificates.problems()
        return found if self._is_optional else [*found, *await self._port_problems()]

    async def _port_problems(self) -> list[str]:
        try:
            for family, kind, protocol, _, address in await asyncio.get_running_loop().getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(address)
        except OSError as error:
            return [self._refusal(error)]
        return []

    def _refusal(self, error: OSError) -> str:
        if error.errno in {EADDRINUSE, EACCES}:
            return (
                f"Cannot listen on {self._host}:{self._port}: {error.strerror}. "
                f"Stop the process that listens there, or set {self._service}_PORT to a free port."
            )
        return f"{self._service}_HOST={self._host}: not allowed; allowed: an address of this machine ({error.strerror})"

    @property
    def connections(self) -> list[web.RequestHandler]:
        """The open connections."""
        server = None if self._runner is None else self._runner.server
        return [] if server is None else server.connections

    async def drain(self, seconds: float = 0.0) -> None:
        """Answer 503 on `/readyz`, serve everything else for `seconds`, stop listening, finish requests in flight."""
        self._health.stopping = True
        if self._runner is not None:
            await asyncio.sleep(seconds)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def on_stop(self) -> None:
        await self.drain()
