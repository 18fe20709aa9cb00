"""Callers with a grant, as the authentication would set them."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from headrace.access.caller import Caller
from headrace.access.grant import Allowed, Grant
from headrace.access.scopes import ALL_SCOPES
from web.access.credentials import set_caller


def calling_with(grant: Grant) -> Middleware:
    """A middleware that lets every request come from a caller with this grant and all scopes."""

    @web.middleware
    async def calling(request: web.Request, handler: Handler) -> web.StreamResponse:
        set_caller(request, Caller("tested", "tested", ALL_SCOPES, grant))
        return await handler(request)

    return calling


def may(*, sources: str = "", subjects: str = "", types: str = "") -> Grant:
    """A grant from comma-separated patterns; an empty text limits nothing."""
    limits = [Allowed.of(tuple(one.split(","))) if one else None for one in (sources, subjects, types)]
    return Grant(*limits)


SAME_REQUEST = {"X-Request-Id": "same"}
"""Headers with which equal answers are equal: otherwise each has an id of its own."""
