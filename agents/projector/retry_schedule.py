"""The retries of an event that fails, before it is parked.

A handler is a pure function, so it usually fails again, unless memory was short or the handler is not quite pure.
Retries are few, and rare when many events fail, because they delay the other keys of the projection.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

WAITS_SECONDS = (0.1, 0.4)
COOLDOWN_SECONDS = 10.0


class RetrySchedule:
    """Delays between the attempts of one projection's events; no retries during a cooldown."""

    def __init__(self) -> None:
        self._retry_allowed_at = float("-inf")

    def waits(self) -> Iterator[float | None]:
        """For each attempt, the seconds to wait before the next; None for the last attempt, after which to park.

        Within COOLDOWN_SECONDS after earlier retries, the first attempt is the last.
        """
        if time.monotonic() >= self._retry_allowed_at:
            for wait in WAITS_SECONDS:
                yield wait
                self._retry_allowed_at = time.monotonic() + COOLDOWN_SECONDS
        yield None
