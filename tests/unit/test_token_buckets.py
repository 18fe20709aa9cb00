"""Token buckets against what they promise, over any sequence of requests."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from headrace.access.token_buckets import TokenBuckets


class Clock:
    def __init__(self) -> None:
        self.now = 5_000.0

    def __call__(self) -> float:
        return self.now


RATES = some.floats(0.01, 10_000)
BURSTS = some.floats(0.01, 60)
STEPS = some.lists(some.tuples(some.floats(0, 30), some.integers(0, 50)), min_size=1, max_size=80)


@given(RATES, BURSTS, STEPS)
def test_never_more_than_the_rate_and_a_burst(rate: float, burst: float, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    buckets = TokenBuckets(rate, burst, clock)
    started, taken, largest = clock.now, 0, 0
    for pause, tokens in steps:
        clock.now += pause
        if not buckets.wait_seconds("k", tokens):
            buckets.take("k", tokens)
            taken += tokens
            largest = max(largest, tokens)
    room = max(rate * burst, 1)
    assert taken <= (rate * (clock.now - started) + room + largest) * (1 + 1e-9)


@given(RATES, BURSTS, STEPS)
def test_who_waits_as_long_as_it_says_is_allowed(rate: float, burst: float, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    buckets = TokenBuckets(rate, burst, clock)
    for pause, tokens in steps:
        clock.now += pause
        wait = buckets.wait_seconds("k", tokens)
        if wait > 1e-3:
            clock.now += wait * 0.9
            assert buckets.wait_seconds("k", tokens) > 0
            clock.now += wait * 0.1
        clock.now += 1e-6  # rounding
        assert buckets.wait_seconds("k", tokens) == 0
        buckets.take("k", tokens)


@given(some.floats(1, 1_000), some.floats(0.1, 60))
def test_a_burst_is_allowed_at_once(rate: float, burst: float) -> None:
    buckets = TokenBuckets(rate, burst, Clock())
    allowed = 0
    while not buckets.wait_seconds("k") and allowed < 100_000:
        buckets.take("k")
        allowed += 1
    assert abs(allowed - max(math.floor(rate * burst), 1)) <= 1


def test_more_than_a_bucket_holds_is_allowed_when_it_is_full() -> None:
    clock = Clock()
    buckets = TokenBuckets(10, 1, clock)
    assert buckets.wait_seconds("k", 500) == 0
    buckets.take("k", 500)
    assert buckets.wait_seconds("k") == pytest.approx(49.1)
    assert buckets.wait_seconds("k", 500) == pytest.approx(50)


def test_each_key_has_a_bucket_of_its_own_and_the_oldest_is_forgotten() -> None:
    buckets = TokenBuckets(1, 1, Clock(), most=3)
    for key in "abcad":
        buckets.take(key)
    assert len(buckets) == 3
    assert {key for key in "abcd" if buckets.wait_seconds(key)} == set("cad")


def test_without_a_rate_nothing_is_limited_or_remembered() -> None:
    buckets = TokenBuckets(0, 10, Clock())
    buckets.take("k", 10**9)
    assert buckets.wait_seconds("k", 10**9) == 0
    assert len(buckets) == 0
