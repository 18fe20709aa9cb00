"""How a part of a worker is: an error that persists makes it failing."""

from __future__ import annotations

from headrace.process.parts import HEADWAY_SECONDS, OK, Condition, Headway, Parts

ERROR = Condition("waiting", "TopicAuthorizationFailedError")


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_error_that_is_retried_in_vain_makes_a_part_failing() -> None:
    clock = Clock()
    headway = Headway(OK, clock)
    headway.note(ERROR)
    assert headway.condition() == ERROR
    clock.now = HEADWAY_SECONDS
    headway.note(Condition("starting", "connects"))
    headway.note(ERROR)
    assert headway.condition() == Condition("failing", "no headway for 30 s: TopicAuthorizationFailedError")


def test_one_success_ends_the_waiting() -> None:
    clock = Clock()
    headway = Headway(OK, clock)
    for now in (0, HEADWAY_SECONDS - 1):
        clock.now = now
        headway.note(ERROR)
        headway.note(OK)
    headway.note(ERROR)
    assert headway.condition() == ERROR


def test_a_server_that_is_away_for_long_is_not_failing() -> None:
    clock = Clock()
    headway = Headway(OK, clock)
    headway.note(Condition("away", "no broker"))
    clock.now = 10 * HEADWAY_SECONDS
    assert headway.condition().state == "away"


def test_what_does_not_work_is_named_with_its_reason() -> None:
    parts = Parts()
    parts.add("disk", lambda: OK)
    parts.add("relay", lambda: ERROR)
    assert parts.missing() == {"relay": ERROR.reason}
