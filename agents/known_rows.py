"""What a projector knows of its rows and its progress from what it read and wrote last.

It may be stale: a write checks all that it rests on, and when anything differs, everything is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from tables.projection_rows import Span

State = TypeVar("State")

MOST_ROWS = 20_000


class KnownRow(NamedTuple, Generic[State]):
    """A row; state None, position and version 0: there is none."""

    state: State | None
    position: int
    version: int


class KnownRows(Generic[State]):
    """Rows by key, of which those that were not written for longest are dropped, and progress by partition."""

    def __init__(self) -> None:
        self._rows: dict[str, KnownRow[State]] = {}
        self.progress: dict[int, int] = {}
        self.has_parked = True
        """Whether the projection may have events parked; then keys must be looked up before they are folded."""

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that must be read, in order."""
        return sorted(key for key in keys if key not in self._rows)

    def __getitem__(self, key: str) -> KnownRow[State]:
        return self._rows[key]

    def remember(self, key: str, row: KnownRow[State]) -> None:
        """Keep a row as it is in the database now."""
        self._rows.pop(key, None)
        self._rows[key] = row

    def reach(self, spans: Mapping[int, Span]) -> None:
        """Note what was applied; drop rows that are too many."""
        for partition, span in spans.items():
            self.progress[partition] = span.last
        while len(self._rows) > MOST_ROWS:
            del self._rows[next(iter(self._rows))]

    def forget(self) -> None:
        """Nothing is known any more."""
        self._rows.clear()
        self.progress.clear()
        self.has_parked = True
