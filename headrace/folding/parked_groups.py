"""Parked events as commands and the API name them: groups, the outcome of an operation, and its interface."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from headrace.access.grant import Grant
from headrace.errors import HeadraceError


class Group(NamedTuple):
    """Events that must be applied in order: those of a row's key, or those of a partition key if the key of the first
    event cannot be computed."""

    key: str
    key_is_known: bool = True


class Failure(msgspec.Struct, frozen=True):
    """An event that failed again in a retry."""

    position: int
    key: str
    error: str


class ParkedOutcome(msgspec.Struct, frozen=True):
    """The outcome of a retry or a discard."""

    projection: str
    discarded: int
    applied: int
    still_parked: int
    """How many of the requested events are still parked. If there are no failures, retry again: the time was up, new
    events were parked in the meantime, or events whose key is known now wait behind another event."""
    failures: list[Failure]
    """The event that failed in each group, for at most 100 groups."""


def counts_of(outcome: ParkedOutcome) -> dict[str, int]:
    """What the access log says of the outcome: numbers alone."""
    return {"discarded": outcome.discarded, "applied": outcome.applied, "still_parked": outcome.still_parked}


class NotParkedError(HeadraceError):
    """No event is parked there."""


class NotPermittedError(HeadraceError):
    """The service or the command has no right to change what is parked."""


class NotFirstError(HeadraceError):
    """The event waits behind an earlier event, which must be retried or discarded first."""


class Parking(Protocol):
    """Retries and discards. Both methods raise NotParkedError if nothing is parked, and the database's errors.

    With a grant, groups that have events which the caller may not touch do not exist.
    """

    async def retry(self, projection: str, group: Group | None, *, grant: Grant | None = None) -> ParkedOutcome:
        """Apply the parked events of a group, or of all groups for None, in order; stop in a group at a failure."""

    async def discard(
        self, projection: str, what: Group | int, *, reason: str, by: str, grant: Grant | None = None
    ) -> ParkedOutcome:
        """Discard the events of a group, or the first event of a group by its position; then retry the events behind
        it. Raises NotFirstError for an event that is not the first of its group.
        """
