"""What becomes of the first events of a group when they are tried again: the pure part of a retry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from headrace.events.topic_record import PastEvent, past_record
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.folding import BEHIND, Chosen, Folding
from headrace.folding.parked_groups import Group
from headrace.folding.row_cache import RowCache, rows_to_write
from headrace.folding.rows import ParkedEvent, ReadRow, WrittenRow

NO_EVENT = "what the event store has there is no event that can be read"


class Replay:
    """Events of one group, in order.

    An event whose key is told now, or is another one than before the fix, belongs to that key: it is applied to its
    row, or waits in its group.
    """

    def __init__(self, folding: Folding[Any], group: Group, events: Sequence[PastEvent]) -> None:
        self._folding = folding
        self._group = group
        self._positions = [event.position for event in events]
        records = {event.position: past_record(event) for event in events}
        chosen, unreadable = folding.choose([record for record in records.values() if record])
        self._chosen = {one.event.position: one for one in chosen}
        self._unreadable = {one.position: one.error for one in unreadable} | {
            position: NO_EVENT for position, record in records.items() if record is None
        }
        self._known: RowCache[Any] = RowCache()
        self._states: dict[str, Any] = {}
        self._changed: dict[str, int] = {}
        self.applied: list[int] = []
        self.moved: list[ParkedEvent] = []
        self.failed: ParkedEvent | None = None

    @property
    def keys(self) -> set[str]:
        """The rows that the events change."""
        return {one.key for one in self._chosen.values()}

    def run(self, found: Mapping[str, ReadRow], *, blocked: Collection[Group]) -> None:
        """Fold as far as it goes, onto the rows that were found; `blocked`: other groups that have events parked.

        Raises StateError when a row cannot be read.
        """
        stopped = {group.key for group in blocked}
        for key in sorted(self.keys - stopped):
            self._known.remember(key, self._folding.cached_row(found.get(key)))
            self._states[key] = self._known[key].state
        for position in self._positions:
            if position in self._unreadable:
                self.failed = ParkedEvent(position, self._group, self._unreadable[position], 1)
            elif position not in self._chosen:
                self.applied.append(position)  # the projection minds it no more
            else:
                self._fold(self._chosen[position], stopped)
            if self.failed:
                return

    def rows(self) -> dict[str, WrittenRow]:
        """The rows as they are to be written. Raises StateError when one cannot be."""
        return rows_to_write(self._known, self._states, self._changed)[0]

    def _fold(self, one: Chosen, stopped: set[str]) -> None:
        group, position = Group(one.key), one.event.position
        if one.key in stopped:
            self.moved.append(ParkedEvent(position, group, BEHIND, 0))
            return
        changed, failed = self._folding.fold(self._states, [one], BlockedGroups())
        if not failed:
            self._changed |= changed
            self.applied.append(position)
        elif group == self._group:
            self.failed = failed[0]
        else:
            stopped.add(one.key)
            self.moved.append(failed[0])
