"""Parked events as commands and the API speak of them: what is asked for, what came of it, and who does it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from headrace.errors import HeadraceError


class Group(NamedTuple):
    """Events that wait in one order: those of a row's key, or, where the first one's key cannot be told, those of a
    partition key."""

    key: str
    key_is_known: bool = True


class Failure(msgspec.Struct, frozen=True):
    """An event that could not be applied now either."""

    position: int
    key: str
    error: str


class ParkedOutcome(msgspec.Struct, frozen=True):
    """What came of a retry or a discard."""

    projection: str
    discarded: int
    applied: int
    still_parked: int
    """Of what was asked for. Without failures: the time was up, or they came meanwhile, or they wait behind another
    event now that their key can be told; ask again."""
    failures: list[Failure]
    """The first event of each group that could not be applied, of at most 100 groups."""


class NotParkedError(HeadraceError):
    """Nothing is parked there."""


class NotFirstError(HeadraceError):
    """The event waits behind another one, which must be retried or discarded first."""


class Parking(Protocol):
    """Does what is asked for. Both raise NotParkedError where nothing is parked, and what the database raises."""

    async def retry(self, projection: str, group: Group | None) -> ParkedOutcome:
        """Apply what is parked in a group, or with None in all, in order; stop in a group where one fails again."""

    async def discard(self, projection: str, what: Group | int, *, reason: str, by: str) -> ParkedOutcome:
        """Go on without the events of a group, or without the first of a group, by its position; then retry what
        waits behind it. Raises NotFirstError for another one.
        """
