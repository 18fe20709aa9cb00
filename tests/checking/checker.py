"""Names what is lost, duplicated, reordered, stale, made up or changed. Pure: plain data in, findings out.

I1 … I11 are the invariants of docs/reliability.md.
"""

from __future__ import annotations

from tests.checking.check_projections import check_projections
from tests.checking.check_reads import check_reads
from tests.checking.check_store import check_store
from tests.checking.check_topic import check_topic
from tests.checking.findings import Finding
from tests.checking.history import History


def check(history: History) -> list[Finding]:
    """All that is wrong; empty when every promise is kept."""
    return [
        *check_store(history),
        *check_topic(history),
        *check_projections(history),
        *check_reads(history),
    ]
