"""A projection's functions on events of the store, for those who may not know agents: which rows they change, and
what a row was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.kafka.fetch_batches import Record, past_record
from headrace.folding.blocked_groups import Stops
from headrace.folding.folding import Folding
from headrace.folding.state_json import encode_state
from headrace.projection import Projection
from tables.history.event_store import PastEvent


class Past:
    """Folds as the projector does, with the same code."""

    def __init__(self, projection: Projection[Any]) -> None:
        self._folding: Folding[Any] = Folding(projection)

    def keys(self, events: Sequence[PastEvent]) -> dict[int, str]:
        """The key of the row of each event, by position; without those that the projection does not take."""
        chosen, _ = self._folding.choose(_records(events))
        return {one.event.position: one.key for one in chosen}

    def row(self, key: str) -> PastRow:
        """The row of this key, before any event."""
        return PastRow(self._folding, key)


class PastRow:
    """A row, as events are added in order. What cannot be applied stops what waits behind it, as if it were parked."""

    def __init__(self, folding: Folding[Any], key: str) -> None:
        self._folding = folding
        self._key = key
        self._states: dict[str, Any] = {}
        self._stops = Stops()
        self.position = 0
        """Of the last event that was applied."""
        self.events = 0
        """How many events were applied since the row came to be."""

    def add(self, events: Sequence[PastEvent]) -> None:
        """Apply those of the events that are of this row."""
        chosen, unreadable = self._folding.choose(_records(events))
        for stopping in unreadable:
            self._stops.stop([stopping.group], stopping.position)
        for one in chosen:
            if one.key == self._key:
                changed, _ = self._folding.fold(self._states, [one], self._stops)
                self.position = changed.get(self._key, self.position)
                if changed:
                    self.events = 0 if self._states[self._key] is None else self.events + 1

    def state(self) -> str | None:
        """The state as JSON; None where the row does not exist."""
        state = self._states.get(self._key)
        return None if state is None else encode_state(state)


def _records(events: Sequence[PastEvent]) -> list[Record]:
    return [record for event in events if (record := past_record(event))]
