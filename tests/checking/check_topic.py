"""The topic against `event_store` (I5, and the second half of I6)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from tests.checking.findings import Finding, Kind
from tests.checking.history import History, Name, Published, Stored, digest

TOPIC = "topic"
SEQUENCE_DIGITS = 20


def check_topic(history: History) -> list[Finding]:
    """All that is wrong with what is published. Must be nothing at any moment: what waits in the outbox may lack."""
    stored = {event.position: event for event in history.stored}
    positions = {event.name: event.position for event in history.stored}
    set_aside = {one.position for one in history.set_aside}
    seen: set[int] = set()
    newest: dict[int, int] = {}
    findings: list[Finding] = []
    for record in history.published:
        if record.value in history.foreign:
            continue
        position = _position(record)
        event = stored.get(position)
        finding = _wrong(record, position, event, positions, history.unreadable)
        if finding is not None:
            findings.append(finding)
        elif position not in seen:
            seen.add(position)
            if not (record.is_late and position in set_aside):
                findings += _too_late(record, position, newest)
    return [*findings, *_lost(history, seen), *_set_aside(history)]


def _wrong(
    record: Published, position: int, event: Stored | None, positions: dict[Name, int], unreadable: Collection[Name]
) -> Finding | None:
    """What is wrong with a record by itself: it must be the event at its position."""
    where = f"the record at offset {record.offset} of partition {record.partition}"
    name = _name(record)
    if event is None or event.name != name:
        if name in positions:
            what = f"{where} has {name} at {position}; it is stored at {positions[name]}"
            return Finding(Kind.DUPLICATED, "I5", TOPIC, what)
        return Finding(Kind.PHANTOM, "I5", TOPIC, f"{where} ({name}, at {position}) is not stored")
    if digest(record.value or b"", without="data" if name in unreadable else "") != digest(event.text):
        return Finding(Kind.CHANGED, "I5", TOPIC, f"{where} is not {name} as it is stored")
    if (record.key, record.partition) != (partition_key(json.loads(event.text)).encode(), event.partition):
        what = f"{where} ({name}) has key {record.key!r}; it belongs to partition {event.partition}"
        return Finding(Kind.REORDERED, "I6", TOPIC, what)
    return None


def _too_late(record: Published, position: int, newest: dict[int, int]) -> Iterator[Finding]:
    """At its first appearance an event is newer than all before it in its partition."""
    before = newest.get(record.partition, 0)
    if position < before:
        what = f"position {position} comes after {before} for the first time (partition {record.partition})"
        yield Finding(Kind.REORDERED, "I6", TOPIC, what)
    newest[record.partition] = max(before, position)


def _lost(history: History, seen: set[int]) -> Iterator[Finding]:
    """What the topic lacks, and neither waits, nor was refused, nor was removed from it."""
    may_lack = {one.position for one in history.set_aside if not one.is_published}
    waiting = {*history.outbox, *history.unreadable}
    firsts, lasts = _left(history)
    for event in history.stored:
        if event.position in seen or event.position in may_lack or event.name in waiting:
            continue
        if event.partition in history.removed and event.position < firsts.get(event.partition, event.position + 1):
            continue
        if history.is_compacted and event.position < lasts.get(partition_key(json.loads(event.text)), 0):
            continue
        yield Finding(Kind.LOST, "I5", TOPIC, f"{event.name} at {event.position} is not published")


def _left(history: History) -> tuple[dict[int, int], dict[str, int]]:
    """The first position of each partition behind what was removed from it, and the last one of each key."""
    firsts: dict[int, int] = {}
    lasts: dict[str, int] = {}
    for record in history.published:
        position = 0 if record.value in history.foreign else _position(record)
        if not position:
            continue
        if record.offset >= history.removed.get(record.partition, 0):
            firsts[record.partition] = min(position, firsts.get(record.partition, position))
        key = (record.key or b"").decode()
        lasts[key] = max(position, lasts.get(key, 0))
    return firsts, lasts


def _set_aside(history: History) -> Iterator[Finding]:
    names = {event.position: event.name for event in history.stored}
    for one in history.set_aside:
        if names.get(one.position) not in history.too_large:
            what = f"the event at {one.position} ({names.get(one.position)}) was set aside, though the topic has room"
            yield Finding(Kind.LOST, "I5", "unpublished", what)


def partition_key(event: dict[str, Any]) -> str:
    """The extension `partitionkey`, else `subject`, else `source`."""
    key: str = event.get("partitionkey") or event.get("subject") or event["source"]
    return key


def _envelope(record: Published) -> dict[str, Any]:
    try:
        members = json.loads(record.value or b"")
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _name(record: Published) -> Name:
    members = _envelope(record)
    return str(members.get("source", "")), str(members.get("id", ""))


def _position(record: Published) -> int:
    """0 when the record has none."""
    sequence = _envelope(record).get("sequence")
    if isinstance(sequence, str) and len(sequence) == SEQUENCE_DIGITS and sequence.isdecimal():
        return int(sequence)
    return 0
