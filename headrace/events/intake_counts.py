"""What became of the events that one transport brought, since the start of the worker."""

from __future__ import annotations


class IntakeCounts:
    """Plain integers: read only when somebody asks for metrics."""

    __slots__ = ("accepted", "duplicate", "rejected")

    def __init__(self) -> None:
        self.accepted = 0
        self.duplicate = 0
        self.rejected = 0
