"""The checker on topics that lack events for a good reason: too large for it, removed by it, or not readable."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checking.check_topic import check_topic
from tests.checking.checker import check
from tests.checking.findings import Finding
from tests.checking.history import History, Name, Published, SetAside, Stored
from tests.support.data.correct_history import correct_history, record

seeds = st.integers(0, 10_000)
a_few = settings(max_examples=10)


def kinds(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(one.invariant, one.kind.value, one.where) for one in findings}


def name_of(published: Published) -> Name:
    event = json.loads(published.value or b"")
    return event["source"], event["id"]


def without(history: History, event: Stored) -> History:
    """The topic lacks the event."""
    history.published = [one for one in history.published if name_of(one) != event.name]
    return history


def refused(seed: int, *, is_published: bool = False) -> tuple[History, Stored]:
    """A history in which an event, not the last of its partition, is too large for the topic, and set aside."""
    history = correct_history(seed)
    event = next(one for one in history.stored if any(two.partition == one.partition for two in history.stored[-5:]))
    history.too_large = frozenset({event.name})
    history.set_aside = [SetAside(event.position, is_published)]
    return without(history, event), event


@a_few
@given(seeds)
def test_an_event_that_was_refused_may_lack_and_may_come_late(seed: int) -> None:
    history, event = refused(seed)
    assert check(history) == []
    history.set_aside = [SetAside(event.position, is_published=True)]
    assert ("I5", "lost", "topic") in kinds(check(history))
    history.published = [*history.published, record(999, event)._replace(is_late=True)]
    assert check(history) == []


@a_few
@given(seeds)
def test_an_event_that_says_that_it_is_late_must_have_been_refused(seed: int) -> None:
    history, event = refused(seed, is_published=True)
    late = record(999, event)._replace(is_late=True)
    history.published = [*history.published, late._replace(is_late=False)]
    assert kinds(check(history)) == {("I6", "reordered", "topic")}
    history.published = [*history.published[:-1], late]
    history.set_aside = []
    assert kinds(check(history)) == {("I6", "reordered", "topic")}


@a_few
@given(seeds)
def test_an_event_for_which_the_topic_has_room_must_not_be_set_aside(seed: int) -> None:
    history, _ = refused(seed)
    history.too_large = frozenset()
    assert kinds(check(history)) == {("I5", "lost", "unpublished")}


@a_few
@given(seeds)
def test_what_retention_removed_may_lack_and_what_came_after_may_not(seed: int) -> None:
    history = correct_history(seed)
    history.published = list({one.value: one for one in history.published}.values())
    partition = history.stored[0].partition
    there = [one for one in history.published if one.partition == partition]
    end = there[len(there) // 2].offset
    history.published = [one for one in history.published if one.partition != partition or one.offset >= end]
    history.removed = {partition: end}
    left = [one for one in history.published if one.partition == partition]
    assert check_topic(history) == []
    last = max(left, key=lambda one: json.loads(one.value or b"")["sequence"])
    assert kinds(check_topic(without(history, stored_as(history, last)))) in (set(), {("I5", "lost", "topic")})
    history.removed = {}
    assert ("I5", "lost", "topic") in kinds(check_topic(history))


def stored_as(history: History, published: Published) -> Stored:
    return next(event for event in history.stored if event.name == name_of(published))


@a_few
@given(seeds)
def test_a_compacted_topic_has_at_least_the_last_event_of_each_key(seed: int) -> None:
    history = correct_history(seed)
    last = {one.key: one for one in history.published}
    history.published = [one for one in history.published if name_of(one) == name_of(last[one.key])]
    assert kinds(check_topic(history)) == {("I5", "lost", "topic")}
    history.is_compacted = True
    assert check_topic(history) == []
    lost = stored_as(history, history.published[0])
    history.published = [one for one in history.published if one.key != history.published[0].key]
    assert f"{lost.name} at {lost.position} is not published" in {one.what for one in check_topic(history)}


@pytest.mark.parametrize("is_there", [True, False])
@a_few
@given(seed=seeds)
def test_an_event_that_cannot_be_read_counts_without_its_data(seed: int, is_there: bool) -> None:
    history = correct_history(seed)
    event = history.stored[0]
    members = json.loads(event.text)
    del members["data"]
    history.stored = [event._replace(text=json.dumps(members)), *history.stored[1:]]
    assert ("I5", "changed", "topic") in kinds(check_topic(history))
    history.unreadable = frozenset({event.name})
    assert check_topic(history if is_there else without(history, event)) == []
