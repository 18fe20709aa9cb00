"""The pure part of a retry: folds the first events of a parked group and reports the outcome of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from headrace.events.topic_record import PastEvent, past_record
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.folding import BEHIND, Chosen, Folding
from headrace.folding.parked_groups import Group
from headrace.folding.row_cache import RowCache, rows_to_write
from headrace.folding.rows import ParkedEvent, ReadRow, WrittenRow

NO_EVENT = "the event store has no readable event at this position"


class Replay:
    """Folds the events of one group, in order.

    If the fixed projection computes another key for an event, the event belongs to that key: it is applied to that
    key's row, or moved to that key's group.
    """

    def __init__(self, folding: Folding[Any], group: Group, events: Sequence[PastEvent]) -> None:
        self._folding = folding
        self._group = group
        self._positions = [event.position for event in events]
        records = {event.position: past_record(event) for event in events}
        self._records = [record for record in records.values() if record]
        chosen, unreadable = folding.choose(self._records)
        self._chosen = {one.event.position: one for one in chosen}
        self._unreadable: dict[int, tuple[str, str | None]] = {
            one.position: (one.error, one.traceback) for one in unreadable
        } | {position: (NO_EVENT, None) for position, record in records.items() if record is None}
        self._texts: dict[str, str | None] = {}
        self._cache: RowCache[Any] = RowCache()
        self._states: dict[str, Any] = {}
        self._changed: dict[str, int] = {}
        self.applied: list[int] = []
        self.moved: list[ParkedEvent] = []
        self.failed: ParkedEvent | None = None

    @property
    def keys(self) -> set[str]:
        """The keys of the rows that the events change."""
        return {one.key for one in self._chosen.values()}

    def run(self, found: Mapping[str, ReadRow], *, blocked: Collection[Group]) -> None:
        """Fold the events onto the existing rows `found`, up to the first failure.

        `blocked` are the other groups that have parked events. Raises StateError if a row cannot be read.
        """
        stopped = {group.key for group in blocked}
        self._texts = {key: row.state for key, row in found.items()}
        for key in sorted(self.keys - stopped):
            self._cache.remember(key, self._folding.cached_row(found.get(key)))
            self._states[key] = self._cache[key].state
        for position in self._positions:
            if position in self._unreadable:
                error, traceback = self._unreadable[position]
                self.failed = ParkedEvent(position, self._group, error, 1, traceback)
            elif position not in self._chosen:
                self.applied.append(position)  # the projection no longer handles this event
            else:
                self._fold(self._chosen[position], stopped)
            if self.failed:
                return

    def rows(self) -> dict[str, WrittenRow]:
        """The rows to write. Raises StateError if a state is not JSON, not of the projection's type or too large."""
        folding = self._folding
        return rows_to_write(self._cache, self._states, self._changed, folding.states, folding.max_state_bytes)[0]

    def _fold(self, one: Chosen, stopped: set[str]) -> None:
        group, position = Group(one.key), one.event.position
        if one.key in stopped:
            self.moved.append(ParkedEvent(position, group, BEHIND, 0))
            return
        changed, failed = self._folding.fold(self._states, [one], BlockedGroups())
        if not failed:
            self._changed |= changed
            self.applied.append(position)
            return
        applied = set(self.applied)
        before = [record for record in self._records if record.position in applied]
        self._folding.restore(self._states, self._texts, before, failed)
        if group == self._group:
            self.failed = failed[0]
        else:
            stopped.add(one.key)
            self.moved.append(failed[0])
