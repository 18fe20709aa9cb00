"""A projection's functions on events of the store, for those who may not know agents: which rows they change, and
what a row was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.batches import Record, past_record
from agents.folding import Folding
from app.projection import Projection
from tables.event_store import PastEvent


class Past:
    """Folds as the projector does, with the same code."""

    def __init__(self, projection: Projection[Any]) -> None:
        self._folding: Folding[Any] = Folding(projection)

    def keys(self, events: Sequence[PastEvent]) -> dict[int, str]:
        """The key of the row of each event, by position; without those that the projection does not take."""
        chosen, _ = self._folding.choose(_records(events))
        return {one.event.position: one.key for one in chosen}


def _records(events: Sequence[PastEvent]) -> list[Record]:
    return [record for event in events if (record := past_record(event))]
