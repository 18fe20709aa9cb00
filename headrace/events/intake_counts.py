"""Counts of the events that a transport has received since the start of the worker, by outcome."""

from __future__ import annotations


class IntakeCounts:
    """Plain integers, which cost little to increment; they are read when metrics are scraped."""

    __slots__ = ("accepted", "duplicate", "rejected")

    def __init__(self) -> None:
        self.accepted = 0
        self.duplicate = 0
        self.rejected = 0
