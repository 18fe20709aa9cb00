"""`/openapi.json` and `/docs`: the API of a port, for programs and for people. Made once, when the worker starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from web.openapi.reference_page import CONTENT_SECURITY_POLICY, reference_page


class Documentation:
    """Serves the document of a port, and the page that shows it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = msgspec.json.encode(document)
        self._page = reference_page(document).encode()

    def routes(self) -> list[web.RouteDef]:
        """`/openapi.json` and `/docs`."""
        return [web.get("/openapi.json", self.openapi), web.get("/docs", self.page)]

    async def openapi(self, _: web.Request) -> web.Response:
        """The OpenAPI document."""
        return web.Response(body=self.document, content_type="application/json")

    async def page(self, _: web.Request) -> web.Response:
        """The page. It loads nothing and runs no script, and its headers forbid anything to be injected."""
        return web.Response(
            body=self._page,
            content_type="text/html",
            charset="utf-8",
            headers={
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                "Referrer-Policy": "no-referrer",
                "X-Frame-Options": "DENY",
            },
        )
