"""What a comparison is, and what one round of it gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from benchmarks.place import Place

RATIO = "ratio"


class Round(msgspec.Struct):
    """One round in which everything came out right."""

    figures: dict[str, float]
    """By name, which ends with the unit; `ratio` is to the bare server of the same round."""
    cpu: dict[str, dict[str, float]]
    """CPU microseconds for each event, by what was run and by kind of process."""


@dataclass(frozen=True)
class Options:
    """What can be chosen for all comparisons."""

    seconds: float | None
    """How long to load; None: as long as the comparison thinks best."""
    events: int
    """How many events the comparisons `projector`, `relay`, `cores` and `faust_cost` work off."""
    backlog: int
    """How many events the comparison `backlog` lets wait."""
    growth_events: int
    """How many events the comparison `growth` has stored, five for each device."""


@dataclass(frozen=True)
class Shown:
    """A figure for the table, and what is asked of it."""

    name: str
    at_least: float | None = None
    at_most: float | None = None
    label: str | None = None
    """What the chart calls it; None: the title of its comparison."""

    def reached(self, value: float) -> bool | None:
        """Whether the value is what is asked; None where nothing is asked."""
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most


@dataclass(frozen=True)
class Comparison:
    """A name, what to show, and one round of it, baseline included."""

    name: str
    title: str
    shown: Sequence[Shown]
    measure: Callable[[Place, Options], Awaitable[Round]]
