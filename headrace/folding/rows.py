"""The input and output of a fold: rows, spans of progress, parked events."""

from __future__ import annotations

from typing import NamedTuple

from headrace.folding.parked_groups import Group


class ReadRow(NamedTuple):
    """A row read from the database, its state as JSON."""

    state: str
    position: int
    version: int


class WrittenRow(NamedTuple):
    """A row to write; with state None, a row to delete."""

    state: str | None
    position: int
    version: int
    known_position: int
    """The position of the row that it replaces; 0 if there is none."""


class Span(NamedTuple):
    """The first and last position that a write applies in a partition."""

    first: int
    last: int


class ParkedEvent(NamedTuple):
    """An event to park: its group, the reason, and the number of attempts (0: it waits behind another event)."""

    position: int
    group: Group
    error: str
    attempts: int
    traceback: str | None = None
    """Where in the code it failed: see `headrace.folding.failures.traceback_of`."""
