"""How much a caller may do, and what it gets beyond that."""

from __future__ import annotations

import pytest

from headrace.access.caller import ANYBODY, Caller
from headrace.access.scopes import ALL_SCOPES
from web.access.limits import RateLimits, Rates
from web.server.problems import Problem

ONE, OTHER = (Caller(name, name, ALL_SCOPES) for name in ("one", "other"))
FREE = Rates(failures_per_minute=0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(limits: RateLimits, caller: Caller = ONE, events: int = 1, size_bytes: int = 0) -> int:
    """`Retry-After`."""
    with pytest.raises(Problem) as raised:
        limits.check_events(caller, events, size_bytes)
    assert (raised.value.status, raised.value.code) == (429, "rate_limited")
    return int(raised.value.headers["Retry-After"])


def test_a_caller_beyond_its_requests_waits_as_long_as_it_is_told_and_no_other_does() -> None:
    clock = Clock()
    limits = RateLimits(FREE._replace(requests_per_second=0.5, burst_seconds=4), clock=clock)
    for _ in range(2):
        limits.check_request(ONE)
    with pytest.raises(Problem) as raised:
        limits.check_request(ONE)
    assert raised.value.headers["Retry-After"] == "2"
    assert limits.refused == 1
    limits.check_request(OTHER)
    clock.now += 2
    limits.check_request(ONE)


def test_events_and_bytes_are_limited_apart() -> None:
    clock = Clock()
    limits = RateLimits(FREE._replace(events_per_second=10, bytes_per_second=1_000, burst_seconds=1), clock=clock)
    limits.check_events(ONE, 10, 10)
    assert refusal(limits, events=5) == 1
    clock.now += 1
    limits.check_events(ONE, 1, 990)
    assert refusal(limits, events=1, size_bytes=1_000) == 1


def test_what_is_refused_does_not_count() -> None:
    clock = Clock()
    limits = RateLimits(FREE._replace(events_per_second=10, bytes_per_second=100, burst_seconds=1), clock=clock)
    limits.check_events(ONE, 1, 100)
    for _ in range(1_000):
        assert refusal(limits, events=9, size_bytes=100) == 1
    clock.now += 1
    limits.check_events(ONE, 10, 100)


def test_a_batch_of_more_than_a_burst_is_accepted_when_nothing_was_sent_before() -> None:
    clock = Clock()
    limits = RateLimits(FREE._replace(events_per_second=10, burst_seconds=1), clock=clock)
    limits.check_events(ONE, 5_000, 0)
    assert refusal(limits) == 500
    clock.now += 500
    limits.check_events(ONE, 5_000, 0)


def test_an_address_that_fails_too_often_is_refused_until_time_has_passed() -> None:
    clock = Clock()
    limits = RateLimits(Rates(failures_per_minute=3), clock=clock)
    for _ in range(3):
        limits.check_address("192.0.2.1")
        limits.note_failure("192.0.2.1")
    with pytest.raises(Problem) as raised:
        limits.check_address("192.0.2.1")
    assert (raised.value.code, raised.value.headers["Retry-After"]) == ("rate_limited", "20")
    limits.check_address("192.0.2.2")
    clock.now += 20
    limits.check_address("192.0.2.1")


def test_by_default_and_where_nobody_is_known_nothing_is_limited() -> None:
    for limits, caller in ((RateLimits(), ONE), (RateLimits(Rates(1e-6, 1e-6, 1e-6)), ANYBODY)):
        for _ in range(1_000):
            limits.check_address("192.0.2.1")
            limits.check_request(caller)
            limits.check_events(caller, 1_000, 10**6)
    assert limits.refused == 0
