"""Who did what: the entries of the access log. They have no data of events and no secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Action(StrEnum):
    """What was done. Entries are found by it; a name never changes its meaning."""

    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    KEYS_READ = "keys.read"
    REQUEST_REFUSED = "request.refused"
    PARKED_RETRIED = "parked.retried"
    PARKED_DISCARDED = "parked.discarded"
    PROJECTION_FORGOTTEN = "projection.forgotten"
    UNPUBLISHED_RETRIED = "unpublished.retried"
    AUDIT_LOG_READ = "audit_log.read"
    ACCESS_LOG_READ = "access_log.read"


class ActionOutcome(StrEnum):
    """What came of it."""

    DONE = "done"
    REFUSED = "refused"
    """It was not allowed, or not valid."""
    FAILED = "failed"
    """It may have been done in part."""


Detail = Mapping[str, str | int]
NO_DETAIL: Detail = {}


class Entry(NamedTuple):
    """An action of a caller, at a time."""

    action: Action
    caller: str
    """The id of a key, `jwt:` with the subject of a token, `host:` with the user of a command; empty where AUTH is off,
    and for a caller who was not authenticated."""
    caller_name: str = ""
    target: str = ""
    """What it was done to: a key, a projection, a route."""
    outcome: ActionOutcome = ActionOutcome.DONE
    status: int | None = None
    """Of the answer; None for a command."""
    address: str | None = None
    """Of the client; None for a command, and for several clients."""
    request_id: str | None = None
    detail: Detail = NO_DETAIL
    at: datetime | None = None
    """None: when it is written."""
