"""Histories in which every promise was kept, for the tests of the checker."""

from __future__ import annotations

import json
import random
import zlib
from collections import defaultdict
from typing import Any

from checking.history import History, Outcome, Published, Read, Row, Sent, Stored, digest
from checking.independent_fold import COUNTERS, Place, fold_event, touched
from checking.load import random_event

PARTITIONS = 3


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
