"""Token buckets: how much a caller may do in a time, with bursts.

A bucket holds as many tokens as its rate gives in `burst_seconds`, and is full at first. It is one number: when the
bucket would be full again (generic cell rate algorithm).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MOST_BUCKETS = 10_000
"""Of one kind; the bucket that was used longest ago is forgotten, that is, full again."""


class TokenBuckets:
    """The buckets of one kind, by caller or address."""

    def __init__(
        self, per_second: float, burst_seconds: float, clock: Callable[[], float], *, most: int = MOST_BUCKETS
    ) -> None:
        """With a rate of 0 nothing is limited."""
        self._seconds_of_one = 1 / per_second if per_second else 0.0
        # A bucket holds at least one token.
        self._burst_seconds = max(burst_seconds, self._seconds_of_one)
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_seconds(self, key: str, tokens: float = 1) -> float:
        """How long to wait until `take` is allowed; 0 if it is allowed now.

        A full bucket allows any number, because a bucket never holds more: what exceeds it delays the next.
        """
        full_at = self._full_at.get(key)
        if full_at is None:
            return 0.0
        now = self._clock()
        most_ahead = max(self._burst_seconds - tokens * self._seconds_of_one, 0.0)
        return max(full_at - now - most_ahead, 0.0)

    def take(self, key: str, tokens: float = 1) -> None:
        """Take tokens out, whether or not they are there."""
        if not self._seconds_of_one:
            return
        now = self._clock()
        full_at = self._full_at.pop(key, now)
        self._full_at[key] = max(full_at, now) + tokens * self._seconds_of_one
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
