"""Logs the same trouble now and then instead of each time."""

from __future__ import annotations

import logging
import time

INTERVAL_SECONDS = 30.0


class ThrottledLog:
    """At most one line for each message and interval; the next one tells how many were left out."""

    def __init__(self, log: logging.Logger, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._log = log
        self._interval = interval_seconds
        self._said: dict[str, tuple[float, int]] = {}

    def warning(self, message: str, *arguments: object) -> None:
        """Log a warning, unless this message was logged less than the interval ago."""
        now = time.monotonic()
        last, left_out = self._said.get(message, (float("-inf"), 0))
        if now - last < self._interval:
            self._said[message] = (last, left_out + 1)
            return
        self._said[message] = (now, 0)
        more = f" ({left_out} more since)" if left_out else ""
        self._log.warning(message + "%s", *arguments, more)
