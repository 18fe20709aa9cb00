"""What becomes of an event that cannot be read or stored for an unforeseen reason: it alone is refused."""

from __future__ import annotations

import time

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction

INTERVAL_SECONDS = 30.0

log = ActionLog(__name__)
_last_logged = [float("-inf")]


def note(error: Exception, failed: str = "reading it") -> str:
    """Log the error with its traceback, at most once in an interval, and return the detail for the sender.

    A MemoryError says nothing about the event, so it is raised again.
    """
    if isinstance(error, MemoryError):
        raise error
    now = time.monotonic()
    if now - _last_logged[0] >= INTERVAL_SECONDS:
        _last_logged[0] = now
        log.exception(
            LogAction.EVENT_UNREADABLE, "An event is refused: reading or storing it failed unexpectedly", error
        )
    return f"{failed} failed unexpectedly ({type(error).__name__}); the log of the worker has the traceback"
