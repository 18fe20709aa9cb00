"""Events that the topic has and the snapshot lacks: newer events of a live topic, or events that the store lost."""

from __future__ import annotations

from array import array

from agents.verify.findings import Findings
from headrace.events.origin import Timeline
from headrace.events.topic_record import Record
from tables.database import Connection
from tables.history import epochs
from tables.history.snapshot import known

MAX_NAMES = 10_000
"""Of how many events the store is asked whether senders have sent them again."""


class LostTail:
    """Collects the events; `report` says what they are when the snapshot is over."""

    def __init__(self) -> None:
        self._positions: dict[int | None, array[int]] = {}
        self._names: dict[tuple[int | None, int], tuple[str, str]] = {}

    def add(self, event: Record, epoch: int | None) -> None:
        """Note an event; `epoch` is None if its record has no origin."""
        self._positions.setdefault(epoch, array("q")).append(event.position)
        if len(self._names) < MAX_NAMES:
            self._names[epoch, event.position] = event.source, event.id

    async def report(self, connection: Connection, findings: Findings) -> None:
        """Compare with the database as it is now: what it has by now was only newer than the snapshot."""
        if not self._positions:
            return
        now = await epochs.read(connection)
        lost: list[tuple[int | None, int]] = []
        for epoch, found in self._positions.items():
            positions = sorted(set(found))
            lacking = [position for position in positions if not _is_stored(now, epoch, position)]
            findings.count("records of the topic that are newer", len(positions) - len(lacking))
            lost += [(epoch, position) for position in lacking]
        again = await self._sent_again(connection, lost)
        for epoch, position in lost:
            source, event_id = self._names.get((epoch, position), ("?", "?"))
            what = f"the event at position {position} of the topic (source {source!r}, id {event_id!r})"
            if epoch is None:
                findings.differ("topic_phantom", f"{what} has no origin, and the event store has no such position")
            elif (epoch, position) in again:
                findings.count("events that the event store lost and has again")
            else:
                findings.differ(
                    "topic_lost_tail",
                    f"{what} was stored by this installation, and the event store does not have it: the database was "
                    "restored from an older copy or lost commits, or a copy of it publishes to this topic",
                )

    async def _sent_again(
        self, connection: Connection, lost: list[tuple[int | None, int]]
    ) -> set[tuple[int | None, int]]:
        named = [place for place in lost if place in self._names]
        found = await known(connection, [self._names[place] for place in named])
        return {named[index] for index in found}


def _is_stored(now: Timeline, epoch: int | None, position: int) -> bool:
    """Whether the event store has the event of a record, if it is the event of this position."""
    return position <= now.last_position and (epoch is None or position <= now.ends.get(epoch, 0))
