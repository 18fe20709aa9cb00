"""What a fetch tells about events that the topic lacks between its records."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiokafka.structs import ConsumerRecord
from faust.types.tuples import TP

from agents.kafka.fetch_batches import batch_of
from headrace.events.topic_record import headers

Link = int | None


def record(offset: int, position: int, follows: Link = None) -> ConsumerRecord[bytes, bytes]:
    event = {"id": str(position), "source": "/t", "type": "t", "time": "2026-11-22T08:00:00Z"}
    value = json.dumps({**event, "sequence": f"{position:020d}"}).encode()
    named = tuple(headers(position, follows))
    return ConsumerRecord("events", 0, offset, 0, 0, b"k", value, None, 1, len(value), named)


def incomplete(*records: ConsumerRecord[bytes, bytes]) -> dict[int, int]:
    fetched: dict[TP, Sequence[ConsumerRecord[bytes, bytes]]] = {TP("events", 0): records}
    return batch_of(fetched).incomplete()


def test_nothing_is_missing_between_records_that_follow_each_other() -> None:
    assert incomplete(record(0, 3, 0), record(1, 5), record(2, 9, 5), record(3, 12, 9)) == {}


def test_a_record_that_names_another_event_before_it_shows_a_hole() -> None:
    assert incomplete(record(0, 3, 0), record(1, 5), record(2, 9, 7), record(3, 12)) == {0: 12}


def test_offsets_with_a_hole_show_what_compaction_has_removed() -> None:
    assert incomplete(record(0, 3), record(1, 5), record(7, 9)) == {0: 9}


def test_a_round_that_was_published_twice_shows_no_hole() -> None:
    assert incomplete(record(0, 3, 0), record(1, 5), record(2, 3, 0), record(3, 5), record(4, 6, 5)) == {}


def test_the_first_record_names_what_the_batch_follows() -> None:
    fetched: dict[TP, Sequence[ConsumerRecord[bytes, bytes]]] = {
        TP("events", 0): [record(0, 3, 1), record(1, 5, 3)],
        TP("events", 1): [record(0, 4)],
    }
    assert batch_of(fetched).follows == {0: 1}
