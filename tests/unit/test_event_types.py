"""The projection `event_types`: one test a sentence of the contract, and that the order of events does not matter."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.projections.event_types import EventType, event_types
from headrace.events.rfc3339 import instant

from tests.support.data.folded import Sent, decoded, encoded, fold, jsonb, times

NOON, ONE, TWO = "2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z", "2026-01-31T14:00:00Z"


@pytest.mark.parametrize("known", ["device.registered", "door.opened"])
def test_every_event_is_counted_by_its_type_known_or_not(known: str) -> None:
    rows = fold(event_types, [Sent(known), Sent("another"), Sent(known)])
    assert {key: row.count for key, row in rows.items()} == {known: 2, "another": 1}


@pytest.mark.parametrize("data", ["null", '"text"', "[1, 2]", '{"name": 5}', "1e999"])
def test_an_event_is_counted_whatever_its_data(data: str) -> None:
    assert fold(event_types, [Sent("device.registered", data)])["device.registered"].count == 1


def test_an_event_without_subject_is_counted() -> None:
    assert fold(event_types, [Sent("a", subject=None)])["a"].count == 1


def test_first_time_and_last_time_are_the_least_and_greatest_times() -> None:
    assert fold(event_types, [Sent("a", time=time) for time in (ONE, TWO, NOON)]) == {"a": EventType(3, NOON, TWO)}


def test_times_are_compared_as_instants_and_not_as_texts() -> None:
    half, whole = "2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00Z"
    assert fold(event_types, [Sent("a", time=half), Sent("a", time=whole)])["a"] == EventType(2, whole, half)


def test_the_state_is_the_json_of_the_contract() -> None:
    state = encoded(fold(event_types, [Sent("a", time=NOON), Sent("a", time=ONE)])["a"])
    assert state == f'{{"count":2,"first_time":"{NOON}","last_time":"{ONE}"}}'


def test_fields_are_the_members_of_the_state() -> None:
    assert list(event_types.fields) == [member.name for member in msgspec.structs.fields(EventType)]


all_sent = st.lists(st.builds(Sent, st.sampled_from(["a", "b", "ä b"]), st.just("{}"), times, st.none()), max_size=12)


@given(all_sent)
def test_the_fold_equals_a_naive_computation(sent: list[Sent]) -> None:
    expected = {}
    for event_type in {each.type for each in sent}:
        in_order = sorted(
            (each.time for each in sent if each.type == event_type), key=lambda time: (instant(time), time)
        )
        expected[event_type] = {"count": len(in_order), "first_time": in_order[0], "last_time": in_order[-1]}
    assert {key: json.loads(encoded(row)) for key, row in fold(event_types, sent).items()} == expected


@given(all_sent.flatmap(lambda sent: st.tuples(st.just(sent), st.permutations(sent))))
def test_the_order_of_events_does_not_matter(in_two_orders: tuple[list[Sent], list[Sent]]) -> None:
    one, other = in_two_orders
    assert fold(event_types, one) == fold(event_types, other)


@given(all_sent)
def test_a_round_trip_through_json_or_jsonb_between_any_two_events_changes_nothing(sent: list[Sent]) -> None:
    rows = fold(event_types, sent)
    assert fold(event_types, sent, stored=str) == fold(event_types, sent, stored=jsonb) == rows
    for row in rows.values():
        assert encoded(decoded(event_types, encoded(row))) == encoded(row)
