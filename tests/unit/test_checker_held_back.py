"""The checker on events that a projection goes on without: parked ones, which wait, and discarded ones."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checking.checker import check
from tests.checking.findings import Finding
from tests.checking.history import Discarded, History, Parked
from tests.support.data.correct_history import (
    HeldBack,
    correct_history,
    discarded_history,
    parked_history,
    row_of,
    rows_and_reads,
)

seeds = st.integers(0, 10_000)
a_few = settings(max_examples=5)


def kinds(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(one.invariant, one.kind.value, one.where) for one in findings}


@settings(max_examples=30)
@given(seeds)
def test_a_poisoned_key_that_waits_in_order_is_correct(seed: int) -> None:
    assert check(parked_history(seed).history) == []


@settings(max_examples=30)
@given(seeds)
def test_a_row_without_what_was_given_up_is_correct(seed: int) -> None:
    assert check(discarded_history(seed).history) == []


def let_a_follower_go_before(held: HeldBack) -> None:
    held.history.parked = [one for one in held.history.parked if one.position != held.parked[-1]]


def forget_the_poison(held: HeldBack) -> None:
    held.history.poison = frozenset()


def lose_the_first_that_is_parked(held: HeldBack) -> None:
    held.history.parked = [one for one in held.history.parked if one.position != held.parked[0]]


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (let_a_follower_go_before, "reordered"),
        (forget_the_poison, "lost"),
        (lose_the_first_that_is_parked, "lost"),
    ],
)
@a_few
@given(seed=seeds)
def test_what_is_parked_wrongly_is_named(seed: int, break_it: Callable[[HeldBack], None], kind: str) -> None:
    held = parked_history(seed)
    break_it(held)
    assert ("I8", kind, "parked") in kinds(check(held.history))


def device_that_waits(seed: int) -> tuple[History, list[int]]:
    """A history in which the key of an event's row could not be told, and so all of its device waits from there on."""
    history = correct_history(seed)
    devices = [json.loads(event.text)["subject"] for event in history.stored]
    device = max(devices, key=devices.count)
    first, *rest = [event.position for event, one in zip(history.stored, devices, strict=True) if one == device][1:]
    waits = [first, *rest]
    history.poison = frozenset([history.stored[first - 1].name])
    history.parked = [Parked("event_types", position, device, "planted", key_is_known=False) for position in waits]
    kept, _ = rows_and_reads([event for event in history.stored if event.position not in waits])
    others = [row for row in history.rows if row.projection != "event_types"]
    history.rows = [*others, *(row for row in kept if row.projection == "event_types")]
    return history, waits


@a_few
@given(seeds)
def test_where_the_key_cannot_be_told_all_of_the_partition_key_waits(seed: int) -> None:
    history, _ = device_that_waits(seed)
    assert check(history) == []
    history.parked = history.parked[:-1]
    assert ("I8", "reordered", "parked") in kinds(check(history))


def discard_what_nobody_gave_up(held: HeldBack) -> None:
    held.history.given_up = frozenset()


def forget_what_was_discarded(held: HeldBack) -> None:
    held.history.discarded = []


def park_what_is_discarded(held: HeldBack) -> None:
    held.history.parked = [*held.history.parked, Parked(held.place[0], held.discarded[0], held.place[1], "planted")]


def discard_what_is_not_stored(held: HeldBack) -> None:
    held.history.discarded = [*held.history.discarded, Discarded(held.place[0], 1_000_000, held.place[1])]


def discard_in_another_projection(held: HeldBack) -> None:
    held.history.discarded = [one._replace(projection="another") for one in held.history.discarded]


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (discard_what_nobody_gave_up, "lost"),
        (forget_what_was_discarded, "lost"),
        (park_what_is_discarded, "duplicated"),
        (discard_what_is_not_stored, "lost"),
        (discard_in_another_projection, "lost"),
    ],
)
@a_few
@given(seed=seeds)
def test_what_is_discarded_wrongly_is_named(seed: int, break_it: Callable[[HeldBack], None], kind: str) -> None:
    held = discarded_history(seed)
    break_it(held)
    assert ("I8", kind, "discarded") in kinds(check(held.history))


@a_few
@given(seeds)
def test_a_row_with_what_was_discarded_is_named(seed: int) -> None:
    held = discarded_history(seed)
    with_row(held, sorted([*held.applied, held.discarded[0]]))
    found = kinds(check(held.history))
    assert found
    assert {(invariant, where) for invariant, _, where in found} == {("I7", "projections")}


@a_few
@given(seeds)
def test_a_row_that_lacks_what_was_behind_a_discarded_event_is_named(seed: int) -> None:
    held = discarded_history(seed, and_parked=False)
    with_row(held, [position for position in held.applied if position < held.discarded[0]])
    assert ("I7", "stale", "projections") in kinds(check(held.history))


def with_row(held: HeldBack, positions: list[int]) -> None:
    """Let the row be that of these events."""
    others = [row for row in held.history.rows if row[:2] != held.place]
    held.history.rows = [*others, row_of(held.history, held.place, positions)]
