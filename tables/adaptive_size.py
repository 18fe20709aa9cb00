"""How many events a statement may have: fewer after a time-out, then more again."""

from __future__ import annotations

import time
from collections.abc import Callable

SMALLER_AFTER_TIME_OUT = 4
FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 30.0


class AdaptiveSize:
    """A number of events that shrinks after a time-out, and then grows again in steps.

    A time-out may be the fault of the statement, or have passed already. So the wait before the next growth is short at
    first; it doubles whenever a larger statement times out again.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.events = most
        self._most = most
        self._clock = clock
        self._wait = FIRST_WAIT_SECONDS
        self._no_more_before = float("-inf")
        self._has_grown = False

    def note_time_out(self, events: int) -> None:
        """A statement with so many events took too long."""
        if self._has_grown:
            self._wait = min(self._wait * 2, MAX_WAIT_SECONDS)
        self._has_grown = False
        self.events = max(events // SMALLER_AFTER_TIME_OUT, 1)
        self._no_more_before = self._clock() + self._wait

    def note_done(self) -> None:
        """A statement with the current number of events was quick enough."""
        if self.events == self._most:
            self._wait = FIRST_WAIT_SECONDS
            return
        if self._clock() < self._no_more_before:
            return
        self.events = min(self.events * 2, self._most)
        self._has_grown = True
