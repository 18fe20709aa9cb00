"""Membership of the consumer group: a worker without partitions stands by only after a while."""

from __future__ import annotations

import logging

import pytest

from app.worker.group_membership import SETTLING_SECONDS, GroupMembership


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_partitions_are_fetched_from_the_end_of_a_rebalance_to_the_start_of_the_next() -> None:
    group = GroupMembership("events")
    states = [group.condition().state]
    group.join({0, 1})
    states.append(group.condition().state)
    group.leave()
    states.append(group.condition().state)
    assert states == ["starting", "ok", "starting"]


def test_a_topic_that_is_too_new_is_not_taken_for_other_event_handlers() -> None:
    clock = Clock()
    group = GroupMembership("events", clock)
    group.join(())
    assert not group.condition().works
    clock.now = SETTLING_SECONDS
    assert group.condition().state == "standby"


def test_each_change_of_the_partitions_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    group = GroupMembership("events")
    with caplog.at_level(logging.INFO):
        for partitions in ([2, 1], [1, 2], [], [0]):
            group.join(partitions)
    assert [line.getMessage() for line in caplog.records] == [
        "The event handler has partitions 1, 2 of topic events",
        "The event handler has no partitions of topic events; it stands by",
        "The event handler has partitions 0 of topic events",
    ]
