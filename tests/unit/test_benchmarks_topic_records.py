"""A figure of the benchmarks counts only when every record is on the topic once, and in order by key."""

from __future__ import annotations

import pytest

from benchmarks.rows import number_of
from benchmarks.topic_records import Record, check_records
from benchmarks.wrk import RoundFailedError

A, B = b"device-a", b"device-b"


def check(*records: Record) -> None:
    check_records(records, number_of=int, numbers=range(4))


def test_every_event_once_and_each_key_in_order_is_right() -> None:
    check((B, "1"), (A, "0"), (A, "2"), (B, "3"))


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([(A, "0"), (A, "1"), (B, "3")], "3 of 4 events"),
        ([(A, "0"), (A, "1"), (B, "2"), (B, "3"), (B, "3")], "event 3 is on the topic twice"),
        ([(A, "1"), (A, "0"), (B, "2"), (B, "3")], "event 0 comes after event 1 of the same key"),
        ([(A, "0"), (A, "1"), (B, "2"), (B, "4")], "or others"),
    ],
)
def test_a_lost_a_repeated_a_late_or_a_foreign_event_is_told(records: list[Record], said: str) -> None:
    with pytest.raises(RoundFailedError, match=said):
        check(*records)


def test_an_id_tells_the_number_of_its_event() -> None:
    assert number_of("00000000-0000-0000-0000-0000000186a0") == 100_000
