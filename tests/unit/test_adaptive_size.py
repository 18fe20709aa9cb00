"""The size of statements after time-outs."""

from __future__ import annotations

from tables.adaptive_size import AdaptiveSize


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def grown(size: AdaptiveSize, clock: Clock, most: int) -> float:
    """The seconds until statements have so many events, with one statement every tenth of a second."""
    begin = clock.now
    while size.events < most:
        clock.now += 0.1
        size.note_done()
    return clock.now - begin


def test_after_a_time_that_has_passed_statements_are_large_again_within_seconds() -> None:
    clock = Clock()
    size = AdaptiveSize(5_000, clock)
    for _ in range(20):
        size.note_time_out(size.events)
    assert size.events == 1
    assert grown(size, clock, 5_000) < 3


def test_a_size_that_times_out_again_and_again_is_tried_less_and_less_often() -> None:
    clock = Clock()
    size = AdaptiveSize(1_000, clock)
    waits = []
    for _ in range(10):
        waits.append(grown(size, clock, 512))
        size.note_time_out(512)
    assert waits[-1] > 20
    assert size.events == 128


def test_the_size_never_exceeds_its_limit() -> None:
    clock = Clock()
    size = AdaptiveSize(100, clock)
    size.note_time_out(100)
    grown(size, clock, 100)
    size.note_done()
    assert size.events == 100
