"""A projector's cache of its rows and its progress, from its last reads and writes.

It may be stale: a write checks every assumption it makes, and if anything differs, the cache is cleared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from headrace.events.topic_record import Record
from headrace.folding.rows import Span, WrittenRow
from headrace.folding.state_json import encode_state

State = TypeVar("State")

MAX_ROWS = 20_000


class CachedRow(NamedTuple, Generic[State]):
    """A row; if it does not exist, state is None, and position and version are 0."""

    state: State | None
    position: int
    version: int


class RowCache(Generic[State]):
    """Rows by key, the least recently written dropped first, and progress by partition."""

    def __init__(self) -> None:
        self._rows: dict[str, CachedRow[State]] = {}
        self.progress: dict[int, int] = {}
        self.has_parked = True
        """Whether the projection may have parked events; if so, blocked keys must be read before events are folded."""

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys whose rows are not cached, sorted."""
        return sorted(key for key in keys if key not in self._rows)

    def __getitem__(self, key: str) -> CachedRow[State]:
        return self._rows[key]

    def remember(self, key: str, row: CachedRow[State]) -> None:
        """Cache a row as it is in the database now."""
        self._rows.pop(key, None)
        self._rows[key] = row

    def reach(self, spans: Mapping[int, Span]) -> None:
        """Record the applied positions; drop rows beyond `MAX_ROWS`."""
        for partition, span in spans.items():
            self.progress[partition] = span.last
        while len(self._rows) > MAX_ROWS:
            del self._rows[next(iter(self._rows))]

    def forget(self) -> None:
        """Clear the cache."""
        self._rows.clear()
        self.progress.clear()
        self.has_parked = True


def rows_to_write(
    known: RowCache[State], states: Mapping[str, State | None], changed: Mapping[str, int], *, max_state_bytes: int
) -> tuple[dict[str, WrittenRow], dict[str, CachedRow[State]]]:
    """The rows to write, and the rows to cache afterwards; `changed`: the last applied position of each key.

    Raises StateError when a state cannot be encoded or has more than `max_state_bytes`.
    """
    rows: dict[str, WrittenRow] = {}
    after: dict[str, CachedRow[State]] = {}
    for key, last in changed.items():
        state, (_, position, version) = states[key], known[key]
        if state is not None:
            after[key] = CachedRow(state, max(position, last), version + 1)
            rows[key] = WrittenRow(encode_state(state, max_state_bytes), *after[key][1:], position)
        elif version:
            after[key] = CachedRow(None, 0, 0)
            rows[key] = WrittenRow(None, last, version + 1, position)
    return rows, after


def beyond(progress: Mapping[int, int], events: Sequence[Record]) -> tuple[list[Record], dict[int, Span]]:
    """The events after the progress, each once, and their first and last position in each partition.

    A record can occur twice because the relay may publish a round again.
    """
    new: list[Record] = []
    spans: dict[int, Span] = {}
    for event in events:
        span = spans.get(event.partition)
        if event.position > (progress[event.partition] if span is None else span.last):
            spans[event.partition] = Span(event.position if span is None else span.first, event.position)
            new.append(event)
    return new, spans
