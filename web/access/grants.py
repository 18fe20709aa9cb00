"""What the caller of a request may not touch: for the views, which answer 403 or leave it out."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from headrace.access.grant import EVERYTHING, Allowed, Grant
from headrace.events.problem_document import ProblemError
from web.access.credentials import caller_of
from web.server.problems import Problem


def limits_of(request: web.BaseRequest) -> Grant | None:
    """What the caller may touch; None: everything."""
    grant = caller_of(request).grant
    return None if grant is EVERYTHING or not grant.is_limited else grant


def not_yours(detail: str, errors: Iterable[ProblemError] = ()) -> Problem:
    """403. Raised for what the request alone says, so it reveals nothing about what is stored."""
    return Problem(403, "not_yours", "Not yours", detail, errors=list(errors))


def check_asked_source(limits: Grant | None, source: str) -> None:
    """Raise Problem (403) if the caller may not touch events of the source that the query string names."""
    if limits is not None and limits.sources is not None and not limits.sources.has(source):
        detail = allowed_in_words(limits.sources)
        error = ProblemError(parameter="source", code="not_yours", detail=detail)
        raise not_yours(f"The key may not touch events of this source. {detail}", [error])


def allowed_in_words(allowed: Allowed) -> str:
    """What the caller may touch, as a sentence."""
    return f"The key may touch: {allowed.in_words}."
