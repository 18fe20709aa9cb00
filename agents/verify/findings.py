"""The findings of `verify`: the number of differences of each kind, and the first of them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

MAX_SHOWN_CHARACTERS = 400

Say = Callable[[str], None]


class Difference(msgspec.Struct):
    """The differences of one kind: how many, and a description of the first."""

    kind: str
    count: int
    first: str


class Findings:
    """Collects differences, and counts of what was compared."""

    def __init__(self) -> None:
        self._differences: dict[str, Difference] = {}
        self.looked_at: dict[str, int] = {}

    def differ(self, kind: str, what: str) -> None:
        """Record a difference; `what` describes it, and is kept for the first of its kind."""
        known = self._differences.get(kind)
        if known is None:
            self._differences[kind] = Difference(kind, 1, what[:MAX_SHOWN_CHARACTERS])
        else:
            known.count += 1

    def count(self, what: str, number: int = 1) -> None:
        """Add to the number of things of a sort that were compared."""
        self.looked_at[what] = self.looked_at.get(what, 0) + number

    @property
    def differences(self) -> list[Difference]:
        """One entry for each kind, in the order of discovery."""
        return list(self._differences.values())
