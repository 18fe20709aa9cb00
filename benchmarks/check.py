"""Did every event come out right? By the fold that the acceptance tests use, which shares no code with the app."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Iterator, Sequence
from typing import Any

from tables.database import Connection

from benchmarks.processes import ROOT
from benchmarks.wrk import RoundFailedError

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

States = dict[tuple[str, str], Any]
fold = _independent["fold"]


async def check_everything(connection: Connection, *, accepted: int, unanswered: int = 0) -> None:
    """Raises RoundFailedError unless all accepted events are stored, and every row is the fold of what is stored.

    `unanswered`: so many posts at most may have been written though nobody got the answer.
    """
    await check_counts(connection, accepted=accepted, unanswered=unanswered)
    expected = await asyncio.to_thread(_fold_of_the_store, connection, asyncio.get_running_loop())
    rows = await connection.fetch(ROWS)
    found = {(row["projection"], row["key"]): json.loads(row["state"]) for row in rows}
    check_same(expected, found)


async def check_counts(connection: Connection, *, accepted: int, unanswered: int) -> None:
    """Raises RoundFailedError unless all that was accepted is stored, nothing waits, and nothing is parked."""
    counts = await connection.fetchrow(COUNTS)
    assert counts is not None
    if not accepted <= counts["stored"] <= accepted + unanswered or counts["waiting"] or counts["parked"]:
        raise RoundFailedError(f"{accepted} events were accepted; in the tables: {dict(counts)}")


def check_same(expected: States, found: States) -> None:
    """Raises RoundFailedError unless the rows are the same; times are compared as instants."""
    comparable = _independent["comparable"]
    wrong = sorted(
        place
        for place in expected.keys() | found.keys()
        if comparable(expected.get(place)) != comparable(found.get(place))
    )
    if wrong:
        raise RoundFailedError(f"{len(wrong)} rows differ from the fold of the events, for example {wrong[0]}")


def _fold_of_the_store(connection: Connection, loop: asyncio.AbstractEventLoop) -> States:
    """In a thread of its own: the fold takes an iterator, and the pages come from the loop. A million events at once
    would not fit beside what is measured."""

    def events() -> Iterator[str]:
        position = 0
        while page := asyncio.run_coroutine_threadsafe(_page(connection, position), loop).result():
            check_positions([row[0] for row in page], first=position + 1)
            position = page[-1][0]
            yield from (text for _, text in page)

    rows: States = fold(events())
    return rows


async def _page(connection: Connection, after: int) -> list[tuple[int, str]]:
    return [(row["position"], row["event"]) for row in await connection.fetch(EVENTS, after, PAGE_EVENTS)]


def check_positions(positions: Sequence[int], *, first: int) -> None:
    """Raises RoundFailedError unless they follow each other from `first`."""
    if list(positions) != list(range(first, first + len(positions))):
        raise RoundFailedError("positions are not 1, 2, 3, …")
