"""Problems as JSON documents (RFC 9457): the same over HTTP and in the answer to a device."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:headrace:problem:"


class ProblemError(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One error in a request, and its place."""

    pointer: str | None = None
    """A JSON pointer into the body."""
    parameter: str | None = None
    """The name of a query string parameter."""
    code: str
    detail: str


class ProblemDetails(msgspec.Struct, omit_defaults=True):
    """The members of RFC 9457, and a code for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """Never changes; `type` is made from it."""
    instance: str | None = None
    """A URI of this occurrence."""
    errors: Sequence[ProblemError] = []
    request_id: str | None = None
    """The id of the request, over HTTP; as in the header `X-Request-Id`."""


def problem_body(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[ProblemError] = (),
    instance: str | None = None,
    request_id: str | None = None,
) -> msgspec.Raw:
    """A problem as JSON. `code` is for programs and never changes; `instance` is a URI of this occurrence."""
    details = ProblemDetails(TYPE_PREFIX + code, title, status, detail, code, instance, list(errors), request_id)
    return msgspec.Raw(msgspec.json.encode(details))
