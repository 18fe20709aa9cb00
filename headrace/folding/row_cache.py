"""A projector's cache of its rows and its progress, from its last reads and writes.

It may be stale: a write checks every assumption it makes, and if anything differs, the cache is cleared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from headrace.events.topic_record import Record
from headrace.folding.rows import Span, WrittenRow
from headrace.folding.state_json import StateJson

State = TypeVar("State")

MAX_ROWS = 20_000
MAX_BYTES = 32 * 1024 * 1024
"""Of the encoded states and their keys; in memory they take several times as much."""


class CachedRow(msgspec.Struct, Generic[State], frozen=True):
    """A row; if it does not exist, state is None, and position and version are 0."""

    state: State | None
    position: int
    version: int
    size: int = 0
    """The length of the encoded state."""


class RowCache(Generic[State]):
    """Rows by key, the least recently written dropped first, and progress by partition."""

    def __init__(self) -> None:
        self._rows: dict[str, CachedRow[State]] = {}
        self._size = 0
        self.progress: dict[int, int] = {}
        self.has_parked = True
        """Whether the projection may have parked events; if so, blocked keys must be read before events are folded."""

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys whose rows are not cached, sorted."""
        return sorted(key for key in keys if key not in self._rows)

    def states(self, keys: Iterable[str]) -> dict[str, State | None]:
        """The states of these keys, whose rows are cached, in a new dict."""
        rows = self._rows
        return {key: rows[key].state for key in keys}

    def __getitem__(self, key: str) -> CachedRow[State]:
        return self._rows[key]

    def remember(self, key: str, row: CachedRow[State]) -> None:
        """Cache a row as it is in the database now."""
        known = self._rows.pop(key, None)  # so that it becomes the last
        self._rows[key] = row
        self._size += row.size + len(key) if known is None else row.size - known.size

    def drop(self, key: str) -> None:
        """Remove a row from the cache, if it is there."""
        known = self._rows.pop(key, None)
        if known is not None:
            self._size -= known.size + len(key)

    def reach(self, spans: Mapping[int, Span]) -> None:
        """Record the applied positions; drop rows beyond `MAX_ROWS` and `MAX_BYTES`."""
        for partition, span in spans.items():
            self.progress[partition] = span.last
        while len(self._rows) > MAX_ROWS or self._size > MAX_BYTES:
            self.drop(next(iter(self._rows)))

    def check_progress(self, partition: int, position: int) -> None:
        """Clear the cache if the database has another progress: another worker wrote it, or it was moved."""
        if self.progress.get(partition, position) != position:
            self.forget()

    def forget(self) -> None:
        """Clear the cache."""
        self._rows.clear()
        self._size = 0
        self.progress.clear()
        self.has_parked = True


def rows_to_write(
    known: RowCache[State],
    states: Mapping[str, State | None],
    changed: Mapping[str, int],
    state_json: StateJson[State],
    max_state_bytes: int,
) -> tuple[dict[str, WrittenRow], dict[str, CachedRow[State]]]:
    """The rows to write, and the rows to cache afterwards; `changed`: the last applied position of each key.

    Raises StateError as `StateJson.encode` does, also for a state of more than `max_state_bytes`.
    """
    rows: dict[str, WrittenRow] = {}
    after: dict[str, CachedRow[State]] = {}
    for key, last in changed.items():
        state, row = states[key], known[key]
        position, version = row.position, row.version
        if state is not None:
            text = state_json.encode(state, max_state_bytes)
            reached = last if last > position else position
            after[key] = CachedRow(state, reached, version + 1, len(text))
            rows[key] = WrittenRow(text, reached, version + 1, position)
        elif version:
            after[key] = CachedRow(None, 0, 0)
            rows[key] = WrittenRow(None, last, version + 1, position)
    return rows, after


def beyond(progress: Mapping[int, int], events: Sequence[Record]) -> tuple[list[Record], dict[int, Span]]:
    """The events after the progress, each once, and their first and last position in each partition.

    A record can occur twice because the relay may publish a round again.
    """
    new: list[Record] = []
    firsts: dict[int, int] = {}
    lasts: dict[int, int] = {}
    for event in events:
        partition, position = event.partition, event.position
        last = lasts.get(partition)
        if position > (progress[partition] if last is None else last):
            if last is None:
                firsts[partition] = position
            lasts[partition] = position
            new.append(event)
    return new, {partition: Span(firsts[partition], last) for partition, last in lasts.items()}
