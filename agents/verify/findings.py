"""What `verify` found: of each kind of difference how many, and the first."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

MOST_SHOWN_CHARACTERS = 400

Say = Callable[[str], None]


class Difference(msgspec.Struct):
    """A kind of difference."""

    kind: str
    count: int
    first: str


class Findings:
    """Differences, and how much was looked at."""

    def __init__(self) -> None:
        self._differences: dict[str, Difference] = {}
        self.looked_at: dict[str, int] = {}

    def differ(self, kind: str, what: str) -> None:
        """Note a difference."""
        known = self._differences.get(kind)
        if known is None:
            self._differences[kind] = Difference(kind, 1, what[:MOST_SHOWN_CHARACTERS])
        else:
            known.count += 1

    def count(self, what: str, number: int = 1) -> None:
        """Note that so many more of something were looked at."""
        self.looked_at[what] = self.looked_at.get(what, 0) + number

    @property
    def differences(self) -> list[Difference]:
        """One of each kind."""
        return list(self._differences.values())
