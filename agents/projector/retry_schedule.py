"""How often an event that fails is tried again before it is parked.

A handler is a pure function, so as a rule it fails again; but memory may have been short, or it is less pure than it
should be. The tries are few, and seldom when many events fail: the other keys of the projection wait meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

WAITS_SECONDS = (0.1, 0.4)
SELDOM_SECONDS = 10.0


class RetrySchedule:
    """The retries of one projection."""

    def __init__(self) -> None:
        self._free_at = float("-inf")

    def waits(self) -> Iterator[float | None]:
        """For each try, how many seconds to wait before the next one; None for the last, after which to park.

        When waits were needed less than ten seconds ago, the first try is the last.
        """
        if time.monotonic() >= self._free_at:
            for wait in WAITS_SECONDS:
                yield wait
                self._free_at = time.monotonic() + SELDOM_SECONDS
        yield None
