"""The projections against a fold of `event_store`, their progress, and what is parked or discarded (I7, I8)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.checking.check_topic import partition_key
from tests.checking.findings import Finding, Kind
from tests.checking.history import History, Row, Stored
from tests.checking.independent_fold import COUNTERS, comparable, fold_event, touched

Place = tuple[str, str]
"""(projection, key)"""


class Expected(NamedTuple):
    """What the store says about the rows, with what is parked or discarded left out."""

    states: dict[Place, Any]
    events: dict[Place, list[int]]
    """The positions that are folded into each row."""
    overtaken: list[tuple[Place, int]]
    """Events that should wait behind a parked one, and do not."""
    parked: set[tuple[str, int]]
    """(projection, position) of what waits for a good reason."""
    discarded: set[tuple[str, int]]
    """(projection, position) of what an operator gave up."""


def check_projections(history: History) -> list[Finding]:
    """All that is wrong with the rows, the progress and what is parked."""
    expected = _expected(history)
    return [*_rows(history, expected), *_progress(history), *_parked(history, expected), *_discarded(history, expected)]


def _expected(history: History) -> Expected:
    parked = {(one.projection, one.position): one for one in history.parked}
    discarded = {(one.projection, one.position) for one in history.discarded}
    waiting: set[tuple[str, str, bool]] = set()
    expected = Expected({}, defaultdict(list), [], set(), set())
    for event in sorted(history.stored, key=_position):
        envelope = json.loads(event.text)
        for place in touched(envelope):
            by_key, by_partition_key = (*place, True), (place[0], partition_key(envelope), False)
            is_behind = by_key in waiting or by_partition_key in waiting
            one = parked.get((place[0], event.position))
            if (place[0], event.name) in history.given_up:
                expected.discarded.add((place[0], event.position))
            if (place[0], event.position) in discarded:
                pass  # nothing waits for it any more
            elif one is not None:
                if is_behind or event.name in history.poison:
                    expected.parked.add((place[0], event.position))
                waiting.add(by_key if one.key_is_known else by_partition_key)
            elif is_behind:
                expected.overtaken.append((place, event.position))
            else:
                fold_event(expected.states, place, envelope)
                expected.events[place].append(event.position)
    return expected


def _rows(history: History, expected: Expected) -> Iterator[Finding]:
    found: dict[Place, Row] = {}
    for row in history.rows:
        place = row.projection, row.key
        if place in found:
            yield Finding(Kind.DUPLICATED, "I7", "projections", f"there are two rows {place}")
        found[place] = row
    for place in expected.states.keys() - found.keys():
        yield Finding(Kind.LOST, "I7", "projections", f"there is no row {place}")
    for place, row in found.items():
        if place not in expected.states:
            yield Finding(Kind.PHANTOM, "I7", "projections", f"no event makes the row {place}")
        else:
            yield from _row(row, expected.states[place], expected.events[place])


def _row(row: Row, state: dict[str, Any], positions: list[int]) -> Iterator[Finding]:
    place, found = (row.projection, row.key), json.loads(row.state)
    last = positions[-1]
    if row.position < last:
        yield Finding(Kind.STALE, "I7", "projections", f"{place} is at {row.position}, its last event at {last}")
    elif row.position > last:
        what = f"{place} is at {row.position}; the last event that it may have is at {last}"
        yield Finding(Kind.PHANTOM, "I7", "projections", what)
    if row.version > len(positions):
        what = f"{place} was written {row.version} times, for {len(positions)} events"
        yield Finding(Kind.DUPLICATED, "I7", "projections", what)
    if comparable(found) == comparable(state):
        return
    counter = COUNTERS[row.projection]
    counted, count = found.get(counter), state[counter]
    kind = Kind.CHANGED
    if isinstance(counted, int) and counted != count:
        kind = Kind.DUPLICATED if counted > count else Kind.LOST
    what = f"{place} is {row.state}, the fold of its {len(positions)} events is {json.dumps(state)}"
    yield Finding(kind, "I7", "projections", what)


def _progress(history: History) -> Iterator[Finding]:
    heads: dict[int, int] = {}
    for event in history.stored:
        heads[event.partition] = max(event.position, heads.get(event.partition, 0))
    newest = max(heads.values(), default=0)
    for projection in COUNTERS:
        for partition, head in sorted(heads.items()):
            position = history.progress.get((projection, partition), 0)
            if position < head:
                what = f"{projection} is at {position} of partition {partition}, whose last event is at {head}"
                yield Finding(Kind.STALE, "I8", "progress", what)
    for (projection, partition), position in history.progress.items():
        if position > newest:
            what = f"{projection} is at {position} of partition {partition}; the last event of all is at {newest}"
            yield Finding(Kind.PHANTOM, "I8", "progress", what)


def _parked(history: History, expected: Expected) -> Iterator[Finding]:
    for place, position in expected.overtaken:
        what = f"the event at {position} was not parked, though an earlier one of {place} is"
        yield Finding(Kind.REORDERED, "I8", "parked", what)
    for one in history.parked:
        if (one.projection, one.position) not in expected.parked:
            what = f"{one.projection} parked the event at {one.position} (key {one.key!r}): {one.error}"
            yield Finding(Kind.LOST, "I8", "parked", what)


def _discarded(history: History, expected: Expected) -> Iterator[Finding]:
    found = {(one.projection, one.position) for one in history.discarded}
    for projection, position in sorted(found - expected.discarded):
        what = f"{projection} goes on without the event at {position}, which nobody gave up"
        yield Finding(Kind.LOST, "I8", "discarded", what)
    for projection, position in sorted(expected.discarded - found):
        what = f"{projection} does not know that the event at {position} was discarded"
        yield Finding(Kind.LOST, "I8", "discarded", what)
    for projection, position in sorted(found & {(one.projection, one.position) for one in history.parked}):
        what = f"{projection} has the event at {position} both parked and discarded"
        yield Finding(Kind.DUPLICATED, "I8", "discarded", what)


def _position(event: Stored) -> int:
    return event.position
