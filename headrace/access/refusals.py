"""Requests that were refused for lack of rights, counted by cause. No answer shows the cause of a 401."""

from __future__ import annotations

from collections import Counter
from typing import Literal

Cause = Literal["missing", "malformed", "in_url", "unknown", "expired", "revoked", "scope"]


class Refusals:
    """The counts of a worker; every kind of credential adds to them."""

    def __init__(self) -> None:
        self.by_cause: Counter[Cause] = Counter()

    def add(self, cause: Cause) -> None:
        """Count a refusal."""
        self.by_cause[cause] += 1
