"""Named places where a test lets a worker die, fail or wait. Nothing happens unless FAULT_POINTS names them.

On a hot path a point costs one look at `armed`:

    if RELAY_STORED.armed:
        await RELAY_STORED.passed()
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import Iterable
from typing import Literal, NamedTuple

from headrace.process.throttled_log import ThrottledLog

log = logging.getLogger(__name__)
throttled = ThrottledLog(log)

MOST_SLEEP_SECONDS = 3_600
SYNTAX = (
    "POINT=kill, POINT=raise or POINT=sleep:SECONDS, by commas; for some passages only: @N, @FROM..TO, @FROM.., @*/N"
)

_FAULT = re.compile(
    r"(?P<point>[a-z.]+)=(?:(?P<action>kill|raise)|(?P<sleep>sleep):(?P<seconds>\d{1,4}(?:\.\d{1,3})?))"
    r"(?:@(?:(?P<first>\d{1,9})(?P<range>\.\.(?P<last>\d{1,9})?)?|\*/(?P<every>[1-9]\d{0,8})))?"
)


Action = Literal["kill", "raise", "sleep"]
_ACTIONS: dict[str, Action] = {"kill": "kill", "raise": "raise", "sleep": "sleep"}


class FaultPointError(Exception):
    """A fault point raised, as it was told to."""


class Fault(NamedTuple):
    """What a point does, and at which of its passages (counted from 1)."""

    point: str
    action: Action
    seconds: float = 0
    first: int = 1
    last: int | None = None
    every: int = 1

    def bites(self, passage: int) -> bool:
        """Whether the fault happens at this passage."""
        in_range = self.first <= passage and (self.last is None or passage <= self.last)
        return in_range and passage % self.every == 0


class FaultPoint:
    """One place. `armed` is False unless a setting names it."""

    __slots__ = ("_faults", "_passages", "armed", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.armed = False
        self._faults: list[Fault] = []
        self._passages = 0

    async def passed(self) -> None:
        """Do what is set for this passage: kill -9 this process, wait, or raise FaultPointError."""
        self._passages += 1
        for fault in self._faults:
            if fault.bites(self._passages):
                throttled.warning(f"Fault point {self.name}: {fault.action} at passage %s.", self._passages)
                if fault.action == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                elif fault.action == "raise":
                    raise FaultPointError(f"fault point {self.name}, passage {self._passages}")
                await asyncio.sleep(fault.seconds)

    def arm(self, faults: Iterable[Fault]) -> None:
        """Do this from now on, and count passages from 1; nothing if there are no faults."""
        self._faults = list(faults)
        self._passages = 0
        self.armed = bool(self._faults)


DOOR_TAKEN = FaultPoint("door.taken")
"""A group of events is read and checked; nothing of it is written."""
DOOR_COMMITTED = FaultPoint("door.committed")
"""The group is committed to the outbox; nobody was answered."""
MQTT_COMMITTED = FaultPoint("mqtt.committed")
"""Devices' messages are committed to the outbox, or kept as refused; none of them is acknowledged."""
RELAY_STORING = FaultPoint("relay.storing")
"""A round begins; nothing has a position."""
RELAY_STORED = FaultPoint("relay.stored")
"""The round is committed to the event store; nothing of it is published."""
PUBLISHER_PUBLISHING = FaultPoint("publisher.publishing")
"""A partition's batch is on its way to the broker and not acknowledged; others of the round may be or not."""
RELAY_PUBLISHED = FaultPoint("relay.published")
"""The broker has acknowledged the round; it is still in the outbox."""
PROJECTOR_FETCHED = FaultPoint("projector.fetched")
"""A fetch has reached a projection; nothing is read or written for it."""
PROJECTOR_WRITING = FaultPoint("projector.writing")
"""Rows are folded; they are not written. Where the rows are locked, inside the transaction."""
PROJECTOR_COMMITTED = FaultPoint("projector.committed")
"""Rows and progress are committed; the connection is not given back."""
PROJECTOR_ACKNOWLEDGING = FaultPoint("projector.acknowledging")
"""The projection is done with the fetch; Faust does not know it."""

POINTS = {
    point.name: point
    for point in (
        DOOR_TAKEN,
        DOOR_COMMITTED,
        MQTT_COMMITTED,
        RELAY_STORING,
        RELAY_STORED,
        PUBLISHER_PUBLISHING,
        RELAY_PUBLISHED,
        PROJECTOR_FETCHED,
        PROJECTOR_WRITING,
        PROJECTOR_COMMITTED,
        PROJECTOR_ACKNOWLEDGING,
    )
}


def read_faults(text: str) -> list[Fault]:
    """The faults that a setting names. Raises ValueError with the part that is wrong."""
    return [_read_fault(part.strip()) for part in text.split(",")] if text else []


def _read_fault(part: str) -> Fault:
    found = _FAULT.fullmatch(part)
    if found is None or found["point"] not in POINTS:
        raise ValueError(part)
    first = int(found["first"] or 1)
    last = None if found["first"] is None else first
    if found["range"]:
        last = int(found["last"]) if found["last"] else None
    seconds = float(found["seconds"] or 0)
    if first < 1 or (last is not None and last < first) or seconds > MOST_SLEEP_SECONDS:
        raise ValueError(part)
    action = _ACTIONS[found["action"] or found["sleep"]]
    return Fault(found["point"], action, seconds, first, last, int(found["every"] or 1))


def arm(faults: Iterable[Fault]) -> None:
    """Arm the points that are named, and no other."""
    chosen = list(faults)
    for point in POINTS.values():
        point.arm(fault for fault in chosen if fault.point == point.name)
