"""Who sent a request."""

from __future__ import annotations

from typing import NamedTuple

from headrace.access.grant import EVERYTHING, NOTHING, Grant
from headrace.access.scopes import ALL_SCOPES, Scope


class Caller(NamedTuple):
    """A client that was authenticated, or anybody where AUTH is off."""

    id: str
    """Of the key, or `jwt:` with the subject of the token; empty where AUTH is off. No secret: it stands in logs."""
    name: str
    scopes: frozenset[Scope]
    grant: Grant = EVERYTHING


ANYBODY = Caller("", "", ALL_SCOPES)
"""Who calls where AUTH is off."""

NOBODY = Caller("", "", frozenset(), NOTHING)
"""Who calls a path that is open to all, where AUTH is on."""
