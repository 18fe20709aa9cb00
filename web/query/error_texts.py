"""Error texts of parked events for callers that may not read everything.

What a handler raised may repeat the state of the row, which others' events may have made: then the kind of the error is
shown alone. The traceback has files, lines and functions only, so it is always shown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from headrace.access.grant import Grant
from headrace.folding.parked_groups import Failure, ParkedOutcome
from tables.parked.parked_list import ParkedGroup, ParkedOne

WITHHELD = "(text withheld: it may have data of others)"


class ErrorTexts:
    """Shows or withholds texts; `owned_by_key` are the projections whose key is the subject of the row's events."""

    def __init__(self, owned_by_key: Collection[str]) -> None:
        self._owned_by_key = frozenset(owned_by_key)

    def of_groups(self, limits: Grant | None, groups: Sequence[ParkedGroup]) -> Sequence[ParkedGroup]:
        """The groups, with the texts that the caller may read."""
        if limits is None:
            return groups
        return [replace(one, error=self._text(limits, one.projection, one.key, one.error)) for one in groups]

    def of_one(self, limits: Grant | None, one: ParkedOne) -> ParkedOne:
        """The event, with the text that the caller may read."""
        return replace(one, error=self._text(limits, one.projection, one.key, one.error))

    def of_outcome(self, limits: Grant | None, outcome: ParkedOutcome) -> ParkedOutcome:
        """The outcome, with the texts that the caller may read."""
        failures = [
            Failure(one.position, one.key, self._text(limits, outcome.projection, one.key, one.error))
            for one in outcome.failures
        ]
        return replace(outcome, failures=failures)

    def _text(self, limits: Grant | None, projection: str, key: str, error: str) -> str:
        if limits is None or self._is_own_row(limits, projection, key):
            return error
        kind, colon, _ = error.partition(":")
        return f"{kind}: {WITHHELD}" if colon else error

    def _is_own_row(self, limits: Grant, projection: str, key: str) -> bool:
        """Whether only events that the caller may touch have made the row with this key."""
        if limits.sources is not None or limits.types is not None or limits.subjects is None:
            return False
        return projection in self._owned_by_key and limits.subjects.has(key)
