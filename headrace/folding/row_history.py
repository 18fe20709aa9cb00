"""A row's past state, folded from stored events by the projector's code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.events.topic_record import PastEvent, Record, past_records
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.folding import Chosen, Folding
from headrace.folding.parked_groups import Group
from headrace.folding.state_json import StateError


class RowHistory:
    """A row that changes as events are added in order. An event that cannot be applied blocks the later events of its
    group, as if it were parked.
    """

    def __init__(self, folding: Folding[Any], key: str) -> None:
        self._folding = folding
        self._key = key
        self._text: str | None = None
        self._blocked = BlockedGroups()
        self.position = 0
        """Position of the last applied event; 0 if there is none."""
        self.events = 0
        """Number of events applied since the row was created."""

    def add(self, events: Sequence[PastEvent]) -> None:
        """Apply the events that belong to this row; ignore the others."""
        records = past_records(events)
        if not self._add(records, each_encoded=False):
            self._add(records, each_encoded=True)

    def state(self) -> str | None:
        """The state as JSON; None if the row does not exist."""
        return self._text

    def _add(self, records: Sequence[Record], *, each_encoded: bool) -> bool:
        """Apply the records; return False, with nothing done, if one fails whose handler may have changed the state.

        With `each_encoded`, each event finds the state as it was encoded after the event before.
        """
        chosen, unreadable = self._folding.choose(records)
        for event in unreadable:
            self._blocked.block([event.group], event.position)
        own = [one for one in chosen if one.key == self._key]
        return self._add_each(own) if each_encoded else self._add_together(own)

    def _add_together(self, chosen: Sequence[Chosen]) -> bool:
        states, position, events = {self._key: self._decoded()}, self.position, self.events
        for one in chosen:
            changed, waiting = self._folding.fold(states, [one], self._blocked)
            if changed:
                position = one.event.position
                events = 0 if states[self._key] is None else events + 1
            elif waiting[0].attempts:
                return False
        try:
            self._text = self._encoded(states[self._key])
        except StateError:
            return False
        self.position, self.events = position, events
        return True

    def _add_each(self, chosen: Sequence[Chosen]) -> bool:
        for one in chosen:
            states = {self._key: self._decoded()}
            changed, _ = self._folding.fold(states, [one], self._blocked)
            if not changed:
                continue
            try:
                self._text = self._encoded(states[self._key])
            except StateError:
                self._blocked.block([Group(self._key)], one.event.position)
            else:
                self.position = one.event.position
                self.events = 0 if self._text is None else self.events + 1
        return True

    def _decoded(self) -> Any:
        return None if self._text is None else self._folding.states.decode(self._text)

    def _encoded(self, state: Any) -> str | None:
        return None if state is None else self._folding.states.encode(state)
