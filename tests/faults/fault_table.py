"""What fault tests found, as text."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.fault_outcomes import Outcomes

HEAD = """| fault | injected | in flight | events | resumed after (s) | lost | doubled | test |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def table(outcomes: Sequence[Outcomes]) -> str:
    """A row for each fault; of several runs the greatest figures."""
    by_test: dict[str, list[Outcomes]] = {}
    for one in outcomes:
        by_test.setdefault(one.test, []).append(one)
    return HEAD + "\n".join(_row(runs) for runs in by_test.values())


def totals(outcomes: Sequence[Outcomes]) -> str:
    """All of it in one line."""
    seeds = sorted({one.seed for one in outcomes})
    return (
        f"{len(outcomes)} faults, seeds {', '.join(map(str, seeds))}, {sum(one.events for one in outcomes)} events, "
        f"lost {sum(one.lost for one in outcomes)}, doubled {sum(one.doubled for one in outcomes)}, "
        f"other findings {sum(one.wrong for one in outcomes)}"
    )


def _row(runs: Sequence[Outcomes]) -> str:
    injected = {what: max(run.bit.get(what, 0) for run in runs) for run in runs for what in run.bit}
    resumed = {
        what: max(run.resumed_seconds.get(what, 0) for run in runs) for run in runs for what in run.resumed_seconds
    }
    cells = (
        runs[0].fault,
        ", ".join(f"{what}: {count}" for what, count in injected.items()),
        max(run.in_flight for run in runs),
        sum(run.events for run in runs),
        ", ".join(f"{what}: {seconds:.1f}" for what, seconds in resumed.items()),
        sum(run.lost for run in runs),
        sum(run.doubled for run in runs),
        f"`{runs[0].test}`",
    )
    return f"| {' | '.join(map(str, cells))} |"
