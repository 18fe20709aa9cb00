"""Named points at which a test makes a worker die, fail or wait. Nothing happens unless FAULT_POINTS names them.

On a hot path a point costs one read of `armed`:

    if RELAY_STORED.armed:
        await RELAY_STORED.passed()
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterable
from typing import Literal, NamedTuple

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog

log = ActionLog(__name__)
throttled = ThrottledLog(log)

MAX_SLEEP_SECONDS = 3_600
SYNTAX = (
    "comma-separated POINT=kill, POINT=raise or POINT=sleep:SECONDS; to limit the passages, add @N, @FROM..TO, "
    "@FROM.. or @*/N"
)

_FAULT = re.compile(
    r"(?P<point>[a-z.]+)=(?:(?P<action>kill|raise)|(?P<sleep>sleep):(?P<seconds>\d{1,4}(?:\.\d{1,3})?))"
    r"(?:@(?:(?P<first>\d{1,9})(?P<range>\.\.(?P<last>\d{1,9})?)?|\*/(?P<every>[1-9]\d{0,8})))?"
)


Action = Literal["kill", "raise", "sleep"]
_ACTIONS: dict[str, Action] = {"kill": "kill", "raise": "raise", "sleep": "sleep"}


class FaultPointError(Exception):
    """A fault point with the action `raise` was passed."""


class Fault(NamedTuple):
    """The action of a point, and the passages (counted from 1) at which it happens."""

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
    """A place in the code. `armed` is False unless FAULT_POINTS names it."""

    __slots__ = ("_faults", "_passages", "armed", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.armed = False
        self._faults: list[Fault] = []
        self._passages = 0

    async def passed(self) -> None:
        """Inject the faults of this passage: kill -9 this process, wait, or raise FaultPointError."""
        self._passages += 1
        for fault in self._faults:
            if fault.bites(self._passages):
                throttled.warning(
                    LogAction.FAULT_INJECTED,
                    "Fault point {point}: {fault} at passage {passage}",
                    point=self.name,
                    fault=fault.action,
                    passage=self._passages,
                )
                if fault.action == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                elif fault.action == "raise":
                    raise FaultPointError(f"fault point {self.name}, passage {self._passages}")
                await asyncio.sleep(fault.seconds)

    def arm(self, faults: Iterable[Fault]) -> None:
        """Inject these faults from now on, and count passages from 1; without faults, disarm the point."""
        self._faults = list(faults)
        self._passages = 0
        self.armed = bool(self._faults)


DOOR_TAKEN = FaultPoint("door.taken")
"""A group of events is read and checked; none of it is written."""
DOOR_COMMITTED = FaultPoint("door.committed")
"""The group is committed to the outbox; no request of it is answered."""
MQTT_COMMITTED = FaultPoint("mqtt.committed")
"""Devices' messages are committed to the outbox or to the dead letters; none of them is acknowledged."""
RELAY_STORING = FaultPoint("relay.storing")
"""A round starts; its events have no positions yet."""
RELAY_STORED = FaultPoint("relay.stored")
"""The round is committed to the event store; none of it is published."""
PUBLISHER_PUBLISHING = FaultPoint("publisher.publishing")
"""A partition's batch is in flight to the broker; other batches of the round may or may not be acknowledged."""
RELAY_PUBLISHED = FaultPoint("relay.published")
"""The broker has acknowledged the round; it is still in the outbox."""
PROJECTOR_FETCHED = FaultPoint("projector.fetched")
"""A projection has received a fetch; nothing is read or written for it."""
PROJECTOR_WRITING = FaultPoint("projector.writing")
"""Rows are folded but not written. If the rows are locked, the transaction is open."""
PROJECTOR_COMMITTED = FaultPoint("projector.committed")
"""Rows and progress are committed; the connection is not yet released."""
PROJECTOR_ACKNOWLEDGING = FaultPoint("projector.acknowledging")
"""The projection has processed the fetch; Faust does not know it yet."""

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
    """Parse the value of FAULT_POINTS. Raises ValueError with the invalid part."""
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
    if first < 1 or (last is not None and last < first) or seconds > MAX_SLEEP_SECONDS:
        raise ValueError(part)
    action = _ACTIONS[found["action"] or found["sleep"]]
    return Fault(found["point"], action, seconds, first, last, int(found["every"] or 1))


def arm(faults: Iterable[Fault]) -> None:
    """Arm the points that the faults name, and disarm all others."""
    chosen = list(faults)
    for point in POINTS.values():
        point.arm(fault for fault in chosen if fault.point == point.name)
