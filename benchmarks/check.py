"""Did every event come out right? By the fold that the acceptance tests use, which shares no code with the app."""

from __future__ import annotations

import asyncio
import json
import runpy
from typing import Any

import asyncpg

from benchmarks.processes import ROOT
from benchmarks.wrk import RoundFailedError
from tables.database import Connection

PAGE_EVENTS = 20_000
EVENTS = """
SELECT position, event::text AS event FROM event_store WHERE position > $1 ORDER BY position LIMIT $2
"""
ROWS = "SELECT projection, key, state::text AS state FROM projections"
COUNTS = """
SELECT (SELECT count(*) FROM event_store) AS stored, (SELECT count(*) FROM outbox) AS waiting,
       (SELECT count(*) FROM parked) AS parked
"""

_independent: dict[str, Any] = runpy.run_path(str(ROOT / "tests" / "checking" / "independent_fold.py"))


async def check_everything(connection: Connection, *, accepted: int, unanswered: int = 0) -> None:
    """Raises RoundFailedError unless all accepted events are stored, and every row is the fold of what is stored.

    `unanswered`: so many posts at most may have been written though nobody got the answer.
    """
    counts = await connection.fetchrow(COUNTS)
    assert counts is not None
    if not accepted <= counts["stored"] <= accepted + unanswered or counts["waiting"] or counts["parked"]:
        raise RoundFailedError(f"{accepted} events were accepted; in the tables: {dict(counts)}")
    events: list[asyncpg.Record] = []
    while page := await connection.fetch(EVENTS, len(events), PAGE_EVENTS):
        events += page
    if [row["position"] for row in events] != list(range(1, counts["stored"] + 1)):
        raise RoundFailedError("positions are not 1, 2, 3, …")
    rows = await connection.fetch(ROWS)
    wrong = await asyncio.to_thread(_differences, events, rows)
    if wrong:
        raise RoundFailedError(f"{len(wrong)} rows differ from the fold of the event store, for example {wrong[0]}")


def _differences(events: list[asyncpg.Record], rows: list[asyncpg.Record]) -> list[tuple[str, str]]:
    expected: dict[tuple[str, str], Any] = _independent["fold"](row["event"] for row in events)
    found = {(row["projection"], row["key"]): json.loads(row["state"]) for row in rows}
    comparable = _independent["comparable"]
    return sorted(
        place
        for place in expected.keys() | found.keys()
        if comparable(expected.get(place)) != comparable(found.get(place))
    )
