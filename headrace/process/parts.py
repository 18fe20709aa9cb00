"""The parts of a worker, and whether each of them works: the banner waits for all, `/readyz` reports them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

State = Literal["ok", "standby", "starting", "away", "failing"]
"""`standby`: another worker does the work. `away`: a server does not answer. `failing`: an operator has to act."""
WORKING: frozenset[State] = frozenset({"ok", "standby"})


class Condition(NamedTuple):
    """How a part is."""

    state: State
    reason: str = ""
    """Why it does not work; empty if it works."""

    @property
    def works(self) -> bool:
        """Whether the part does its work, or another worker does it."""
        return self.state in WORKING


OK = Condition("ok")
STANDBY = Condition("standby")

Part = Callable[[], Condition]
"""Says at once how a part is."""


class Parts:
    """The parts of this worker, by name."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}

    def add(self, name: str, part: Part) -> None:
        """Include a part; a later one of the same name replaces it."""
        self._parts[name] = part

    def conditions(self) -> dict[str, Condition]:
        """How each part is now."""
        return {name: part() for name, part in self._parts.items()}

    def missing(self) -> Mapping[str, str]:
        """By name, why a part does not work yet; empty if all work."""
        return {name: found.reason for name, found in self.conditions().items() if not found.works}
