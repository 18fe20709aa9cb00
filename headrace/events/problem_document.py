"""Errors as JSON (RFC 9457): the same over HTTP and in what a device is answered."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:headrace:problem:"


class ProblemError(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that is wrong with a request, and where."""

    pointer: str | None = None
    """A JSON pointer into the body."""
    parameter: str | None = None
    """The name of a parameter of the query string."""
    code: str
    detail: str


class Problem(msgspec.Struct, omit_defaults=True):
    """An error as RFC 9457 has it, with a code for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """Never changes; `type` is made of it."""
    instance: str | None = None
    """A URI of this one occurrence."""
    errors: Sequence[ProblemError] = []


def problem_body(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[ProblemError] = (),
    instance: str | None = None,
) -> msgspec.Raw:
    """A problem as JSON. `code` is for programs and never changes; `instance` is a URI of this one occurrence."""
    told = Problem(TYPE_PREFIX + code, title, status, detail, code, instance, list(errors))
    return msgspec.Raw(msgspec.json.encode(told))
