"""The topic against `event_store` (I5, and the second half of I6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.checking.findings import Finding, Kind
from tests.checking.history import History, Name, Published, Stored, digest

TOPIC = "topic"
SEQUENCE_DIGITS = 20


def check_topic(history: History) -> list[Finding]:
    """All that is wrong with what is published. Must be nothing at any moment: what waits in the outbox may lack."""
    stored = {event.position: event for event in history.stored}
    positions = {event.name: event.position for event in history.stored}
    waiting = set(history.outbox)
    seen: set[int] = set()
    newest: dict[int, int] = {}
    findings: list[Finding] = []
    for record in history.published:
        if record.value in history.foreign:
            continue
        position = _position(record)
        event = stored.get(position)
        finding = _wrong(record, position, event, positions)
        if finding is not None:
            findings.append(finding)
        elif position not in seen:
            seen.add(position)
            findings += _too_late(record, position, newest)
    findings += (
        Finding(Kind.LOST, "I5", TOPIC, f"{event.name} at {event.position} is not published")
        for event in history.stored
        if event.position not in seen and event.name not in waiting
    )
    return findings


def _wrong(record: Published, position: int, event: Stored | None, positions: dict[Name, int]) -> Finding | None:
    """What is wrong with a record by itself: it must be the event at its position."""
    where = f"the record at offset {record.offset} of partition {record.partition}"
    name = _name(record)
    if event is None or event.name != name:
        if name in positions:
            what = f"{where} has {name} at {position}; it is stored at {positions[name]}"
            return Finding(Kind.DUPLICATED, "I5", TOPIC, what)
        return Finding(Kind.PHANTOM, "I5", TOPIC, f"{where} ({name}, at {position}) is not stored")
    if digest(record.value or b"") != digest(event.text):
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
