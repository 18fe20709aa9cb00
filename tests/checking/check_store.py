"""What clients were told, against `outbox` and `event_store` (I1 to I4, and the first half of I6)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.checking.findings import Finding, Kind
from tests.checking.history import History, Name, Outcome, digest

STORE = "event store"


def check_store(history: History) -> list[Finding]:
    """All that is wrong with what is stored."""
    return [
        *_lost(history),
        *_made_up_or_changed(history),
        *_stored_twice(history),
        *_gaps(history),
        *_waiting(history),
        *_out_of_order(history),
    ]


def _lost(history: History) -> Iterator[Finding]:
    known = {event.name for event in history.stored} | set(history.outbox)
    for event in history.sent:
        if event.outcome is Outcome.ACCEPTED and event.name not in known:
            yield Finding(Kind.LOST, "I1", STORE, f"{event.name} was accepted in session {event.session}")


def _made_up_or_changed(history: History) -> Iterator[Finding]:
    contents: defaultdict[Name, set[str]] = defaultdict(set)
    for sent in history.sent:
        if sent.outcome is not Outcome.REFUSED:
            contents[sent.name].add(sent.digest)
    for stored in history.stored:
        if stored.name not in contents:
            yield Finding(
                Kind.PHANTOM, "I2", STORE, f"{stored.name} at {stored.position} was refused, or nobody sent it"
            )
        elif digest(stored.text) not in contents[stored.name]:
            yield Finding(Kind.CHANGED, "I3", STORE, f"{stored.name} at {stored.position} is not what was accepted")


def _stored_twice(history: History) -> Iterator[Finding]:
    for name, times in Counter(event.name for event in history.stored).items():
        if times > 1:
            yield Finding(Kind.DUPLICATED, "I3", STORE, f"{name} is stored {times} times")
    for position, times in Counter(event.position for event in history.stored).items():
        if times > 1:
            yield Finding(Kind.DUPLICATED, "I3", STORE, f"position {position} is given {times} times")


def _gaps(history: History) -> Iterator[Finding]:
    last = 0
    for position in sorted({event.position for event in history.stored}):
        if position != last + 1:
            yield Finding(Kind.LOST, "I3", STORE, f"there is no event at {last + 1} to {position - 1}")
        last = position


def _waiting(history: History) -> Iterator[Finding]:
    for name in history.outbox:
        yield Finding(Kind.STALE, "I4", "outbox", f"{name} still waits")


def _out_of_order(history: History) -> Iterator[Finding]:
    """By session and key, positions are in the order in which the posts were answered."""
    positions = {event.name: event.position for event in history.stored}
    last: dict[tuple[str, str], tuple[int, Name]] = {}
    for event in history.sent:
        position = positions.get(event.name)
        if event.outcome is not Outcome.ACCEPTED or position is None:
            continue
        before, name = last.get((event.session, event.key), (0, event.name))
        if position < before:
            what = f"{event.name} is at {position}, and {name}, answered before it, at {before} (key {event.key})"
            yield Finding(Kind.REORDERED, "I6", STORE, what)
        else:
            last[event.session, event.key] = position, event.name
