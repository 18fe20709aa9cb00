"""What a checker says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

MOST_LINES_A_KIND = 5


class Kind(Enum):
    """What is wrong."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    STALE = "stale"
    PHANTOM = "phantom"
    CHANGED = "changed"


class Finding(NamedTuple):
    """One thing that is wrong: what, by which invariant, about what, and where it was seen."""

    kind: Kind
    invariant: str
    where: str
    """outbox, event store, topic, projections, progress, parked, discarded, unpublished or reads."""
    what: str


def report(findings: Sequence[Finding]) -> str:
    """The findings for a human, the first few of each kind and place; "nothing is wrong" if there are none."""
    if not findings:
        return "nothing is wrong"
    lines = []
    shown: Counter[tuple[Kind, str]] = Counter()
    for finding in findings:
        place = finding.kind, finding.where
        shown[place] += 1
        if shown[place] <= MOST_LINES_A_KIND:
            lines.append(f"{finding.invariant} {finding.kind.value} ({finding.where}): {finding.what}")
    lines += [
        f"… {count - MOST_LINES_A_KIND} more {kind.value} ({where})"
        for (kind, where), count in shown.items()
        if count > MOST_LINES_A_KIND
    ]
    return "\n".join(lines)
