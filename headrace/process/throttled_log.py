"""Logs a repeated problem at intervals instead of each time."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction

INTERVAL_SECONDS = 30.0
IDENTIFYING = ("service", "task", "projection", "partition", "point", "fault", "broker", "setting")
"""Fields that say what has the problem: each value has lines of its own. They have few values."""


class ThrottledLog:
    """At most one line per action, its identifying fields and interval; the next line says how many were left out."""

    def __init__(self, log: ActionLog, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._log = log
        self._interval = interval_seconds
        self._written: dict[tuple[object, ...], tuple[float, int]] = {}

    def warning(self, action: LogAction, text: str, /, **fields: object) -> None:
        """Log a warning, unless one of the same kind was logged less than the interval ago."""
        self._write(self._log.warning, action, text, fields)

    def error(self, action: LogAction, text: str, /, **fields: object) -> None:
        """The same for an error."""
        self._write(self._log.error, action, text, fields)

    def _write(self, write: Callable[..., None], action: LogAction, text: str, fields: dict[str, object]) -> None:
        kind = (action, *(fields.get(name) for name in IDENTIFYING))
        now = time.monotonic()
        last, left_out = self._written.get(kind, (float("-inf"), 0))
        if now - last < self._interval:
            self._written[kind] = (last, left_out + 1)
            return
        self._written[kind] = (now, 0)
        if left_out:
            text, fields = text + " ({left_out} more since)", {**fields, "left_out": left_out}
        write(action, text, **fields)
