"""An HTTP server on loopback that publishes the keys of an issuer, well or badly."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.servers.fresh import free_port

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeyServer:
    """Publishes `keys` at `/keys`, unless a test sets another answer."""

    def __init__(self, keys: bytes, port: int, scheme: str) -> None:
        self.keys = keys
        self.port = port
        self.url = f"{scheme}://localhost:{port}/keys"
        self.answer: Answer = self._publish
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, and keep it."""
        self.requests.append(request)
        return await self.answer(request)

    async def _publish(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=self.keys, content_type="application/jwk-set+json")


@asynccontextmanager
async def key_server(keys: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[KeyServer]:
    """A server that runs; with a context, over TLS."""
    server = KeyServer(keys, free_port(), "http" if context is None else "https")
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", server.port, ssl_context=context).start()
        yield server
    finally:
        await runner.cleanup()
