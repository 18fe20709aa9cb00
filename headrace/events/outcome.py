"""The outcome of an accepted, known or refused event, whatever transport brought it."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """What became of an event at the outbox."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNSTORABLE = "unstorable"


REFUSALS = frozenset({Outcome.CONFLICT, Outcome.UNSTORABLE})
