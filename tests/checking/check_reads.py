"""What readers saw while it happened: a row never goes back (I11)."""

from __future__ import annotations

from tests.checking.findings import Finding, Kind
from tests.checking.history import History


def check_reads(history: History) -> list[Finding]:
    """All that is wrong with what was read."""
    findings = []
    newest: dict[tuple[str, str, str], tuple[int, int]] = {}
    for read in history.reads:
        place = read.reader, read.projection, read.key
        now = read.version, read.position
        before = newest.get(place, (0, 0))
        if now[0] < before[0] or now[1] < before[1]:
            what = f"{place[1:]} was at (version, position) {before}, and then at {now}"
            findings.append(Finding(Kind.STALE, "I11", "reads", what))
        newest[place] = max(now, before)
    return findings
