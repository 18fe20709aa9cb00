"""How many events are applied together: fewer after a statement that took too long, more after quick statements."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.events.topic_record import Record

MAX_EVENTS = 10_000
MAX_BYTES = 4 * 1024 * 1024
"""Of the data of events that are applied together, unless it is a single event."""
QUICK_SECONDS = 1.0
FEWEST_PARTS_BEFORE_MORE = 8
MOST_PARTS_BEFORE_MORE = 64
FIRST_LONG_SECONDS = 10.0
MAX_LONG_SECONDS = 40.0


class BatchSize:
    """The size of the next part of a batch, and the time that its statements get."""

    def __init__(self, most: int = MAX_EVENTS) -> None:
        self.events = most
        self._most = most
        self._limit = most
        self._parts = 0
        self._parts_before_more = FEWEST_PARTS_BEFORE_MORE
        self._has_grown = False
        self.seconds: float | None = None
        """The timeout of a statement; None for the pool's. It grows for a single event that takes too long."""

    def take(self, events: Sequence[Record], first: int) -> Sequence[Record]:
        """The events to apply together, from the index `first`; at least one."""
        size, last = 0, min(first + self.events, len(events))
        for index in range(first, last):
            size += len(events[index].data)
            if size > MAX_BYTES and index > first:
                return events[first:index]
        return events if last - first == len(events) else events[first:last]

    @property
    def is_exhausted(self) -> bool:
        """Whether a single event had the longest time already."""
        return self.events == 1 and self.seconds is not None and self.seconds >= MAX_LONG_SECONDS

    def note_time_out(self, events: int) -> None:
        """Apply a quarter of this number of events next time; give a single event more time.

        If more was tried than took too long before, twice as many quick parts must come before that is tried again.
        """
        self._limit, self._parts = max(events // 2, 1), 0
        if self._has_grown:
            self._parts_before_more = min(self._parts_before_more * 2, MOST_PARTS_BEFORE_MORE)
        self._has_grown = False
        if events > 1:
            self.events = max(events // 4, 1)
        else:
            self.events = 1
            self.seconds = min(self.seconds * 2 if self.seconds else FIRST_LONG_SECONDS, MAX_LONG_SECONDS)

    def note_refused(self) -> None:
        """Apply an eighth of the events next time, because the result of these cannot be stored together."""
        self.events = max(self.events // 8, 1)

    def note_done(self, seconds: float) -> None:
        """Apply more events together after a part that was quick; after many, more than took too long before."""
        if seconds >= QUICK_SECONDS:
            return
        self.seconds = None
        self._parts += 1
        if self._parts >= self._parts_before_more:
            self._has_grown = self._limit < self._most
            self._limit, self._parts = min(self._limit * 2, self._most), 0
            if not self._has_grown:
                self._parts_before_more = FEWEST_PARTS_BEFORE_MORE
        self.events = min(self.events * 2, self._limit)
