"""When the door refuses because of the outbox, and how long it asks clients to wait."""

from __future__ import annotations

import pytest

from tables.intake.backlog import Backlog, Depth


def backlog() -> Backlog:
    return Backlog(max_events=1_000, max_bytes=1_000_000)


def depth(events: int, *, size_bytes: int = 0, last_position: int = 0) -> Depth:
    return Depth(events, size_bytes, 1.0, last_position)


def test_below_the_limits_nothing_is_refused() -> None:
    watched = backlog()
    assert watched.retry_after_seconds is None
    watched.note(depth(999, size_bytes=999_999), at=1.0)
    assert watched.retry_after_seconds is None


@pytest.mark.parametrize("full", [depth(1_000), depth(10, size_bytes=1_000_000)])
def test_at_a_limit_and_without_a_drain_clients_are_asked_to_come_back_in_half_a_minute(full: Depth) -> None:
    watched = backlog()
    watched.note(full, at=1.0)
    assert watched.retry_after_seconds == 30


def test_the_wait_is_what_the_relay_needs_for_what_is_beyond_the_limit() -> None:
    watched = backlog()
    for second in range(50):
        watched.note(depth(3_000, last_position=100 * second), at=float(second))
    assert watched.drained_per_second == pytest.approx(100, rel=0.01)
    assert watched.retry_after_seconds == pytest.approx(20, abs=1)


def test_a_limit_of_bytes_counts_in_events_of_their_mean_size() -> None:
    watched = backlog()
    for second in range(50):
        watched.note(depth(100, size_bytes=2_000_000, last_position=10 * second), at=float(second))
    assert watched.retry_after_seconds == pytest.approx(5, abs=1)


def test_the_wait_is_bounded() -> None:
    watched = backlog()
    watched.note(depth(10**9), at=1.0)
    watched.note(depth(10**9, last_position=100), at=2.0)
    assert watched.retry_after_seconds == 300
    watched.note(depth(1_001, last_position=100_000), at=3.0)
    assert watched.retry_after_seconds == 1


def test_when_postgresql_does_not_answer_the_outbox_refuses_nothing() -> None:
    watched = backlog()
    watched.note(depth(5_000), at=1.0)
    watched.forget()
    assert watched.retry_after_seconds is None
    assert watched.depth is None
