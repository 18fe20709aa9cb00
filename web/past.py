"""What the query service needs of a projection's functions; who puts the worker together gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tables.history.event_store import PastEvent


class PastRow(Protocol):
    """A row, as events are added in order."""

    @property
    def position(self) -> int:
        """Of the last event that was applied."""

    @property
    def events(self) -> int:
        """How many events were applied since the row came to be."""

    def add(self, events: Sequence[PastEvent]) -> None:
        """Apply those of the events that are of this row."""

    def state(self) -> str | None:
        """The state as JSON; None where the row does not exist."""


class Past(Protocol):
    """A projection's functions on events of the store."""

    def keys(self, events: Sequence[PastEvent]) -> Mapping[int, str]:
        """The key of the row of each event, by position; without those that the projection does not take."""

    def row(self, key: str) -> PastRow:
        """The row of this key, before any event."""
