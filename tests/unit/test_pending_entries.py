"""What waits to be written to the access log: bounded, and refusals that repeat are counted instead of written."""

from __future__ import annotations

from headrace.access.access_log import Action, ActionOutcome, Entry
from headrace.access.pending_entries import (
    ADDRESS_ENTRIES,
    ALL_ENTRIES,
    MOST_ADDRESSES,
    WINDOW_SECONDS,
    PendingEntries,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def refusal(address: str = "192.0.2.1", caller: str = "") -> Entry:
    return Entry(Action.REQUEST_REFUSED, caller, outcome=ActionOutcome.REFUSED, status=401, address=address)


def discard(number: int) -> Entry:
    return Entry(Action.PARKED_DISCARDED, "k", target=str(number))


def test_entries_are_taken_in_order_and_announced() -> None:
    pending, announced = PendingEntries(Clock()), list[int]()
    pending.added = lambda: announced.append(1)
    for number in range(5):
        pending.add(discard(number))
    assert [one.target for one in pending.take(3)] == ["0", "1", "2"]
    assert [one.target for one in pending.take(9)] == ["3", "4"]
    assert pending.take(9) == []
    assert len(announced) == 5


def test_refusals_of_an_address_beyond_the_limit_are_one_entry_after_a_minute() -> None:
    clock = Clock()
    pending = PendingEntries(clock)
    for _ in range(ADDRESS_ENTRIES + 7):
        pending.add(refusal())
    pending.add(refusal("192.0.2.2"))
    assert len(pending.take(1_000)) == ADDRESS_ENTRIES + 1
    clock.now += WINDOW_SECONDS - 1
    assert pending.take(1_000) == []
    clock.now += 1
    (count,) = pending.take(1_000)
    assert (count.address, count.outcome, count.detail) == ("192.0.2.1", ActionOutcome.REFUSED, {"left_out": 7})
    pending.add(refusal())
    assert pending.take(1_000) == [refusal()]


def test_what_changes_something_is_never_left_out() -> None:
    pending = PendingEntries(Clock())
    for number in range(ALL_ENTRIES * 2):
        pending.add(discard(number))
    assert len(pending) == ALL_ENTRIES * 2


def test_many_addresses_together_have_a_limit_and_bounded_memory() -> None:
    clock = Clock()
    pending = PendingEntries(clock)
    addresses = MOST_ADDRESSES * 3
    for number in range(addresses):
        pending.add(refusal(f"10.0.{number // 256}.{number % 256}"))
    assert len(pending.take(addresses)) == ALL_ENTRIES
    clock.now += WINDOW_SECONDS
    counts = pending.take(addresses)
    assert len(counts) <= MOST_ADDRESSES + 1
    assert sum(int(one.detail["left_out"]) for one in counts) == addresses - ALL_ENTRIES


def test_counts_of_many_addresses_are_written_while_more_come() -> None:
    clock = Clock()
    pending = PendingEntries(clock)
    written = 0
    for number in range(MOST_ADDRESSES * 10):
        clock.now += WINDOW_SECONDS / MOST_ADDRESSES / 2
        pending.add(refusal(f"10.0.{number // 256}.{number % 256}"))
        written += sum(int(one.detail.get("left_out", 1)) for one in pending.take(1_000))
    assert written >= MOST_ADDRESSES * 7


def test_a_worker_that_stops_adds_what_was_left_out() -> None:
    pending = PendingEntries(Clock())
    for _ in range(ADDRESS_ENTRIES + 1):
        pending.add(refusal())
    pending.close()
    assert pending.take(1_000)[-1].detail == {"left_out": 1}


def test_a_full_queue_loses_the_newest_and_counts_them() -> None:
    pending = PendingEntries(Clock(), at_most=3)
    for number in range(5):
        pending.add(discard(number))
    assert pending.lost == 2
    taken = pending.take(2)
    pending.add(discard(5))
    pending.put_back(taken)
    assert pending.lost == 3
    assert [one.target for one in pending.take(9)] == ["0", "2", "5"]


def test_refusals_do_not_crowd_out_reads() -> None:
    pending = PendingEntries(Clock())
    for number in range(ALL_ENTRIES + MOST_ADDRESSES):
        pending.add(refusal(f"198.51.{number // 250}.{number % 250}"))
    pending.take(10_000)
    read = Entry(Action.AUDIT_LOG_READ, "stolen", address="192.0.2.1")
    pending.add(read)
    assert pending.take(10_000) == [read]
