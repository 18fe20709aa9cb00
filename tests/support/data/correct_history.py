"""Histories in which every promise was kept, for the tests of the checker."""

from __future__ import annotations

import json
import random
import zlib
from collections import defaultdict
from typing import Any, NamedTuple

from tests.checking.history import Discarded, History, Outcome, Parked, Published, Read, Row, Sent, Stored, digest
from tests.checking.independent_fold import COUNTERS, Place, fold_event, touched
from tests.checking.load import random_event

PARTITIONS = 3
FEWEST_EVENTS = 4
"""Of a row whose events wait or are given up."""


def correct_history(seed: int, events: int = 60) -> History:
    """Three sessions send events, most are accepted; rounds are published twice now and then; readers look on."""
    chance = random.Random(seed)
    history = History()
    sent: list[Sent] = []
    stored: list[Stored] = []
    for number in range(events):
        event = random_event(chance, "/made", f"d{chance.randrange(5)}")
        outcome = chance.choices((Outcome.ACCEPTED, Outcome.REFUSED, Outcome.UNKNOWN), (90, 5, 5))[0]
        sent.append(Sent(f"s{number % 3}", event["subject"], event["source"], event["id"], digest(event), outcome))
        if outcome is Outcome.ACCEPTED or (outcome is Outcome.UNKNOWN and chance.random() < 0.5):
            partition = zlib.crc32(event["subject"].encode()) % PARTITIONS
            stored.append(Stored(len(stored) + 1, event["source"], event["id"], partition, json.dumps(event)))
    history.sent, history.stored = sent, stored
    history.published = published(chance, stored)
    history.rows, history.reads = rows_and_reads(stored)
    history.progress = {(name, part): len(stored) for name in COUNTERS for part in range(PARTITIONS)}
    return history


def published(chance: random.Random, stored: list[Stored]) -> list[Published]:
    """Each event at least once; after an error a round is there again."""
    by_partition: defaultdict[int, list[Stored]] = defaultdict(list)
    for event in stored:
        by_partition[event.partition].append(event)
    records = []
    for partition, chosen in sorted(by_partition.items()):
        rounds = [chosen[start : start + 5] for start in range(0, len(chosen), 5)]
        copies = [one for events in rounds for one in events * chance.choice((1, 1, 2))]
        records += [record(offset, event, partition) for offset, event in enumerate(copies)]
    return records


def record(offset: int, event: Stored, partition: int | None = None) -> Published:
    """What the relay publishes for an event."""
    members: dict[str, Any] = json.loads(event.text)
    value = json.dumps(members | {"sequence": f"{event.position:020d}"}).encode()
    return Published(event.partition if partition is None else partition, offset, members["subject"].encode(), value)


def rows_and_reads(stored: list[Stored]) -> tuple[list[Row], list[Read]]:
    """The rows after all events, and what a reader saw that looked after each."""
    states: dict[Place, Any] = {}
    last: dict[Place, tuple[int, int]] = {}
    reads = []
    for event in stored:
        envelope = json.loads(event.text)
        for place in touched(envelope):
            fold_event(states, place, envelope)
            last[place] = event.position, last.get(place, (0, 0))[1] + 1
            reads.append(Read("r1", *place, *last[place]))
    return [Row(*place, json.dumps(state), *last[place]) for place, state in states.items()], reads


class HeldBack(NamedTuple):
    """A correct history in which a projection goes on without some events of one row."""

    history: History
    place: Place
    applied: list[int]
    """The positions of the row's events that are applied."""
    discarded: list[int]
    parked: list[int]


def parked_history(seed: int) -> HeldBack:
    """One event of a row cannot be applied; it and all later ones of the row are parked."""
    history, place, positions, chance = _with_a_row(seed)
    first = chance.randrange(1, len(positions) - 1)
    return _held_back(history, place, positions, poison=[positions[first]], parked=positions[first:])


def discarded_history(seed: int, *, and_parked: bool | None = None) -> HeldBack:
    """One event of a row, not the first, or more in a row are given up, and then perhaps a later one is parked with all
    behind it."""
    history, place, positions, chance = _with_a_row(seed)
    first = chance.randrange(1, len(positions) - 2)
    after = chance.randrange(first + 1, len(positions) - 1)
    discarded = positions[first:after] if chance.random() < 0.5 else [positions[first]]
    is_parked = chance.random() < 0.5 if and_parked is None else and_parked
    parked = positions[after:] if is_parked else []
    return _held_back(history, place, positions, poison=parked[:1], parked=parked, discarded=discarded)


def _with_a_row(seed: int) -> tuple[History, Place, list[int], random.Random]:
    """A correct history, and one of its rows that has many events."""
    chance, history = random.Random(f"row {seed}"), correct_history(seed)
    positions: defaultdict[Place, list[int]] = defaultdict(list)
    for event in history.stored:
        for place in touched(json.loads(event.text)):
            positions[place].append(event.position)
    place = chance.choice([place for place, found in positions.items() if len(found) >= FEWEST_EVENTS])
    return history, place, positions[place], chance


def _held_back(
    history: History,
    place: Place,
    positions: list[int],
    *,
    poison: list[int],
    parked: list[int],
    discarded: list[int] | None = None,
) -> HeldBack:
    names = {event.position: event.name for event in history.stored}
    given_up = discarded or []
    history.poison = frozenset(names[position] for position in poison)
    history.given_up = frozenset((place[0], names[position]) for position in given_up)
    history.parked = [Parked(place[0], position, place[1], "planted") for position in parked]
    history.discarded = [Discarded(place[0], position, place[1]) for position in given_up]
    applied = [position for position in positions if position not in {*parked, *given_up}]
    history.rows = [row for row in history.rows if row[:2] != place] + [row_of(history, place, applied)]
    return HeldBack(history, place, applied, given_up, parked)


def row_of(history: History, place: Place, positions: list[int]) -> Row:
    """A row after these events."""
    rows, _ = rows_and_reads([event for event in history.stored if event.position in positions])
    return next(row for row in rows if row[:2] == place)
