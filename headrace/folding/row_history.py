"""What a row was: folded from stored events by the code that the projector uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.events.topic_record import PastEvent, past_records
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.folding import Folding
from headrace.folding.state_json import encode_state


class RowHistory:
    """A row, as events are added in order. An event that cannot be applied blocks the later ones of its group, as if it
    were parked.
    """

    def __init__(self, folding: Folding[Any], key: str) -> None:
        self._folding = folding
        self._key = key
        self._states: dict[str, Any] = {}
        self._blocked = BlockedGroups()
        self.position = 0
        """Of the last event that was applied."""
        self.events = 0
        """How many events were applied since the row was created."""

    def add(self, events: Sequence[PastEvent]) -> None:
        """Apply those of the events that belong to this row."""
        chosen, unreadable = self._folding.choose(past_records(events))
        for event in unreadable:
            self._blocked.block([event.group], event.position)
        for candidate in chosen:
            if candidate.key == self._key:
                changed, _ = self._folding.fold(self._states, [candidate], self._blocked)
                self.position = changed.get(self._key, self.position)
                if changed:
                    self.events = 0 if self._states[self._key] is None else self.events + 1

    def state(self) -> str | None:
        """The state as JSON; None if the row does not exist."""
        state = self._states.get(self._key)
        return None if state is None else encode_state(state)
