"""What a projector knows of its rows and its progress from what it read and wrote last.

It may be stale: a write checks all that it rests on, and when anything differs, everything is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from headrace.events.topic_record import Record
from headrace.folding.rows import Span, WrittenRow
from headrace.folding.state_json import encode_state

State = TypeVar("State")

MOST_ROWS = 20_000


class CachedRow(NamedTuple, Generic[State]):
    """A row; state None, position and version 0: there is none."""

    state: State | None
    position: int
    version: int


class RowCache(Generic[State]):
    """Rows by key, of which those that were not written for longest are dropped, and progress by partition."""

    def __init__(self) -> None:
        self._rows: dict[str, CachedRow[State]] = {}
        self.progress: dict[int, int] = {}
        self.has_parked = True
        """Whether the projection may have events parked; then keys must be looked up before they are folded."""

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that must be read, in order."""
        return sorted(key for key in keys if key not in self._rows)

    def __getitem__(self, key: str) -> CachedRow[State]:
        return self._rows[key]

    def remember(self, key: str, row: CachedRow[State]) -> None:
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


def rows_to_write(
    known: RowCache[State], states: Mapping[str, State | None], changed: Mapping[str, int]
) -> tuple[dict[str, WrittenRow], dict[str, CachedRow[State]]]:
    """The rows as they are to be written, and as they will be known; `changed`: the last position of each key.

    Raises StateError when a state cannot be written.
    """
    rows: dict[str, WrittenRow] = {}
    after: dict[str, CachedRow[State]] = {}
    for key, last in changed.items():
        state, (_, position, version) = states[key], known[key]
        if state is not None:
            after[key] = CachedRow(state, max(position, last), version + 1)
            rows[key] = WrittenRow(encode_state(state), *after[key][1:], position)
        elif version:
            after[key] = CachedRow(None, 0, 0)
            rows[key] = WrittenRow(None, last, version + 1, position)
    return rows, after


def beyond(progress: Mapping[int, int], events: Sequence[Record]) -> tuple[list[Record], dict[int, Span]]:
    """What is beyond the progress, and where it begins and ends in each partition.

    Each position once: a round that was published again repeats itself.
    """
    new: list[Record] = []
    spans: dict[int, Span] = {}
    for event in events:
        span = spans.get(event.partition)
        if event.position > (progress[event.partition] if span is None else span.last):
            spans[event.partition] = Span(event.position if span is None else span.first, event.position)
            new.append(event)
    return new, spans
