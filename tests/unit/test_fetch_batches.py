"""What a fetch says about events that it lacks: before its records, between them and beside them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from aiokafka.structs import ConsumerRecord
from faust.types.tuples import TP

from agents.kafka.fetch_batches import CheckedBatch, batch_of
from headrace.events.genuine_records import Reason
from headrace.events.topic_record import HEADERS

from tests.support.data.signed_records import signed, timeline


def record(
    position: int, follows: int | None = None, *, partition: int = 0, is_signed: bool = True
) -> ConsumerRecord[bytes, bytes]:
    event = {"id": str(position), "source": "/t", "type": "t", "time": "2026-11-22T08:00:00Z"}
    value = json.dumps({**event, "sequence": f"{position:020d}"}).encode()
    headers = tuple(signed(value, follows, partition=partition) if is_signed else HEADERS)
    return ConsumerRecord("events", partition, 0, 0, 0, b"k", value, None, 1, len(value), headers)


def checked(*records: ConsumerRecord[bytes, bytes], up_to: int | None = None) -> CheckedBatch:
    fetched: dict[TP, Sequence[ConsumerRecord[bytes, bytes]]] = {}
    for one in records:
        tp = TP("events", one.partition)
        fetched[tp] = [*fetched.get(tp, []), one]
    return batch_of(fetched).checked(timeline(), up_to)


def positions(batch: CheckedBatch) -> list[int]:
    return [event.position for event in batch.events]


def test_nothing_is_missing_between_records_that_follow_each_other() -> None:
    assert checked(record(3, 0), record(5, 3), record(9, 5), record(12, 9)).lacking == {}


def test_a_record_that_names_another_event_before_it_shows_a_hole() -> None:
    assert checked(record(3, 0), record(5, 3), record(9, 7), record(12, 9)).lacking == {0: 9}


def test_a_record_that_does_not_know_the_event_before_it_may_follow_a_hole() -> None:
    assert checked(record(3, 0), record(5)).lacking == {0: 5}


def test_a_round_that_was_published_twice_shows_no_hole() -> None:
    assert checked(record(3, 0), record(5, 3), record(3, 0), record(5, 3), record(6, 5)).lacking == {}


def test_a_topic_that_was_refilled_behind_a_later_event_shows_the_hole_before_that() -> None:
    batch = checked(record(7, 6), record(3, 2), record(4, 3))
    assert (positions(batch), batch.follows, batch.lacking) == ([3, 4, 7], {0: 2}, {0: 7})


@pytest.mark.parametrize("seed", range(50))
def test_a_hole_is_shown_wherever_events_are_lacking(seed: int) -> None:
    chance = random.Random(seed)
    stored = sorted(chance.sample(range(1, 60), 12))
    there = sorted(chance.sample(stored, chance.randrange(1, 12)))
    before = dict(zip(stored, [0, *stored], strict=False))
    records = [record(one, before[one]) for one in there]
    records += chance.sample(records, chance.randrange(len(records) + 1))
    batch = checked(*records)
    holes = [one for one, last in zip(there[1:], there, strict=False) if before[one] != last]
    assert positions(batch)[-1] == there[-1]
    assert set(positions(batch)) == set(there)
    assert batch.follows == {0: before[there[0]]}
    assert batch.lacking == ({0: holes[-1]} if holes else {})


def test_the_first_record_names_what_the_batch_follows() -> None:
    assert checked(record(3, 1), record(5, 3), record(4, partition=1)).follows == {0: 1}


def test_a_record_without_origin_makes_the_store_be_read_up_to_it() -> None:
    batch = checked(record(3, 0), record(5, is_signed=False), record(9, is_signed=False, partition=2))
    assert (positions(batch), batch.lacking) == ([3], {0: 6, 2: 10})
    assert batch.reasons() == {Reason.UNSIGNED: 2}


def test_what_the_store_does_not_have_is_left_out() -> None:
    batch = checked(record(3, 0), record(5, 3), record(9, 5), up_to=5)
    assert (positions(batch), batch.reasons()) == ([3, 5], {Reason.AHEAD: 1})
