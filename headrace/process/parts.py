"""The parts of a worker, and whether each of them works: the banner waits for all, `/readyz` reports them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

State = Literal["ok", "standby", "starting", "waiting", "away", "failing"]
"""`standby`: another worker does the work. `waiting`: an error is retried. `away`: a server does not answer.
`failing`: an operator has to act."""
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

HEADWAY_SECONDS = 30.0
"""An error that is retried in vain for longer is no passing error."""


class Headway:
    """How a part is, from what happens to it: an error that persists makes it failing."""

    def __init__(self, condition: Condition, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._condition = condition
        self._waits_since: float | None = None

    def note(self, condition: Condition) -> None:
        """The part is like this from now on. That it starts again does not end its waiting."""
        if condition.state == "starting" and self._waits_since is not None:
            return
        if condition.state != "waiting":
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = self._clock()
        self._condition = condition

    def condition(self) -> Condition:
        """How the part is."""
        if self._waits_since is None or (waited := self._clock() - self._waits_since) < HEADWAY_SECONDS:
            return self._condition
        return Condition("failing", f"no headway for {waited:.0f} s: {self._condition.reason}")


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
