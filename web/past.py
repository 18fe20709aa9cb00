"""What the query service needs of a projection's functions; who puts the worker together gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tables.event_store import PastEvent


class Past(Protocol):
    """A projection's functions on events of the store."""

    def keys(self, events: Sequence[PastEvent]) -> Mapping[int, str]:
        """The key of the row of each event, by position; without those that the projection does not take."""
