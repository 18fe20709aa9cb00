"""What the benchmark of access control makes of its loads."""

from __future__ import annotations

import pytest

from benchmarks.access import Sample, compared


def samples(*per_second: float, more_us: float = 0.0) -> list[Sample]:
    return [Sample(value, 100.0 + more_us * (place % 2), {}) for place, value in enumerate(per_second)]


def test_a_load_with_keys_is_compared_with_the_loads_before_and_after_it() -> None:
    figures = compared(samples(1000, 970, 1000, 950, 1000, 990, 1000, more_us=3.0))
    assert (figures["kept_least"], figures["kept"], figures["kept_most"]) == pytest.approx((0.95, 0.97, 0.99))
    assert figures["more_cpu_us"] == pytest.approx(3.0)
    assert figures["more_cpu_percent"] == pytest.approx(3.0)


def test_a_machine_that_becomes_slower_costs_nothing() -> None:
    figures = compared(samples(1000, 900, 800, 700, 600, 500, 400))
    assert figures["kept_least"] == figures["kept"] == figures["kept_most"] == pytest.approx(1.0)
