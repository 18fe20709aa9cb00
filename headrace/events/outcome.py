"""The outcome of an accepted, known or refused event, for every transport."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """The outcome of storing an event in the outbox."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNSTORABLE = "unstorable"


REFUSALS = frozenset({Outcome.CONFLICT, Outcome.UNSTORABLE})
