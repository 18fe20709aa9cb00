"""docs/access.md lists every route with the scope that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from aiohttp import web

from headrace.access.refusals import Cause, Refusals
from headrace.access.scopes import Scope
from scripts.document_access import PAGE, rows, text
from web.access.gate import Gate, UnscopedRouteError
from web.access.route_scopes import ROUTE_SCOPES
from web.server.server import make_application

ROOT = Path(__file__).parents[2]


def test_the_table_of_routes_is_what_the_code_makes() -> None:
    page = PAGE.read_text("utf-8")
    assert text(page) == page, "run make docs"
    assert "".join(rows()) in page


def test_the_page_has_every_scope_and_every_cause() -> None:
    page = PAGE.read_text("utf-8")
    assert [scope for scope in Scope if f"| `{scope}` |" not in page] == []
    assert [cause for cause in get_args(Cause) if f"`{cause}`" not in page] == []


def test_an_application_with_a_route_that_nobody_decided_about_does_not_start() -> None:
    async def view(_: web.Request) -> web.Response:
        return web.Response()

    gate = Gate([], Refusals())
    make_application([web.get("/livez", view)], 10, gate=gate)
    for route in (web.get("/api/v1/new", view), web.post("/livez", view), web.route("*", "/livez", view)):
        with pytest.raises(UnscopedRouteError, match="has no scope"):
            make_application([route], 10, gate=gate)


def test_only_health_is_open() -> None:
    assert {path for (_, path), need in ROUTE_SCOPES.items() if not need} == {"/livez", "/readyz"}
