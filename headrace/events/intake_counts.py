"""The outcomes of the events that a transport received, since the start of the worker."""

from __future__ import annotations


class IntakeCounts:
    """Plain integers, which only a scrape of the metrics reads."""

    __slots__ = ("accepted", "duplicate", "rejected")

    def __init__(self) -> None:
        self.accepted = 0
        self.duplicate = 0
        self.rejected = 0
