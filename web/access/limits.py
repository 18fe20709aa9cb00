"""How much each caller may do, and how often each address may fail to authenticate.

The numbers are a worker's own: with several workers, a caller may do that much at each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import hdrs

from headrace.access.caller import Caller
from headrace.access.token_buckets import TokenBuckets
from web.server.problems import Problem

MAX_RETRY_AFTER_SECONDS = 3_600
MINUTE = 60.0


class Rates(NamedTuple):
    """What is allowed; 0: anything."""

    requests_per_second: float = 0
    events_per_second: float = 0
    bytes_per_second: float = 0
    """Of bodies that are posted, decompressed."""
    burst_seconds: float = 10
    """What a caller did not use in this time, it may use at once."""
    failures_per_minute: float = 20
    """Of one address: requests that get 401."""


UNLIMITED = Rates(failures_per_minute=0)


class RateLimits:
    """The limits of a worker, for both ports together. The checks raise Problem (429, `rate_limited`)."""

    def __init__(self, rates: Rates = UNLIMITED, *, clock: Callable[[], float] = time.monotonic) -> None:
        burst = rates.burst_seconds
        self.refused = 0
        """Requests that got 429."""
        self.limits_requests = rates.requests_per_second > 0
        """Whether `check_request` can refuse anything."""
        self.limits_events = rates.events_per_second > 0 or rates.bytes_per_second > 0
        """Whether `check_events` can refuse anything."""
        self._requests = TokenBuckets(rates.requests_per_second, burst, clock)
        self._events = TokenBuckets(rates.events_per_second, burst, clock)
        self._bytes = TokenBuckets(rates.bytes_per_second, burst, clock)
        self._failures = TokenBuckets(rates.failures_per_minute / MINUTE, MINUTE, clock)

    def check_address(self, address: str) -> None:
        """Before a credential is verified with a hash or a query: whether the address has failed too often."""
        if wait := self._failures.wait_seconds(address):
            raise self._problem("This address has failed to authenticate too often.", wait)

    def note_failure(self, address: str) -> None:
        """Count a request that gets 401."""
        self._failures.take(address)

    def check_request(self, caller: Caller) -> None:
        """After authentication: whether the caller may send this request now. It counts if so."""
        if not self.limits_requests or not caller.id:
            return
        if wait := self._requests.wait_seconds(caller.id):
            raise self._problem("This key sends too many requests.", wait)
        self._requests.take(caller.id)

    def check_events(self, caller: Caller, events: int, size_bytes: int) -> None:
        """Before events are stored: whether the caller may send so many, and so much. They count if so.

        Either may be 0, if the two are not known at the same time.
        """
        if not self.limits_events or not caller.id:
            return
        of_events = self._events.wait_seconds(caller.id, events) if events else 0
        of_bytes = self._bytes.wait_seconds(caller.id, size_bytes) if size_bytes else 0
        if wait := max(of_events, of_bytes):
            raise self._problem("This key sends too many events.", wait)
        self._events.take(caller.id, events)
        self._bytes.take(caller.id, size_bytes)

    def _problem(self, detail: str, wait: float) -> Problem:
        self.refused += 1
        seconds = min(math.ceil(wait), MAX_RETRY_AFTER_SECONDS)
        return Problem(429, "rate_limited", "Too many requests", detail, headers={hdrs.RETRY_AFTER: str(seconds)})
