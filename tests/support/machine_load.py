"""How much others use the machine, so that a limit in seconds does not fail because of them."""

from __future__ import annotations

import os

MOST = 3.0
"""A limit never grows by more: beyond that, too slow is too slow."""


def slowness() -> float:
    """How many times as long as on an idle machine something may take: processes that wait or run, for each CPU."""
    return min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), MOST)
