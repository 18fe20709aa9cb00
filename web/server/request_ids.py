"""Each request has an id: `X-Request-Id` as the client sent it, or an id that is made here.

It is in the answer, in problems, in log lines about the request, and in the access log.
"""

from __future__ import annotations

import itertools
import re
import secrets

from aiohttp import web
from multidict import istr

HEADER = istr("X-Request-Id")
URN_PREFIX = "urn:headrace:request:"
REQUEST_ID = web.RequestKey("request_id", str)
"""Of a request that is not an IdentifiedRequest."""

_is_accepted = re.compile(r"[A-Za-z0-9._~-]{1,128}").fullmatch
# Random for each process, and then a counter: random bytes for each request would cost more than all the rest of it.
_process = secrets.token_hex(8)
_next_number = itertools.count(1).__next__


class IdentifiedRequest(web.Request):
    """A request that finds its id when the id is needed, usually with the answer."""

    _request_id = ""

    @property
    def request_id(self) -> str:
        """The id."""
        if not self._request_id:
            self._request_id = _given(self) or new_id()
        return self._request_id


def new_id() -> str:
    """An id for a request without one."""
    return f"{_process}-{_next_number()}"


def id_of(request: web.BaseRequest) -> str:
    """The id of a request; always the same."""
    # `isinstance` is slow: a request is a mapping, so its classes are abstract base classes.
    found: str | None = getattr(request, "request_id", None)
    return request.setdefault(REQUEST_ID, _given(request) or new_id()) if found is None else found


def _given(request: web.BaseRequest) -> str:
    sent = request.headers.get(HEADER)
    return sent if sent is not None and _is_accepted(sent) else ""
