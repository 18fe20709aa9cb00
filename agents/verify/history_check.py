"""Decodes all stored events with the data types of the projections, as the folds do, and counts what does not fit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agents.verify.checked_type import CheckedType, TypeReport
from agents.verify.findings import Say
from agents.verify.history_pages import HistoryPage, HistoryPages
from headrace.projection import Projection
from tables.database import Connection
from tables.history import stored_data

PROGRESS_SECONDS = 5.0


class HistoryReport(msgspec.Struct):
    """What the event store has, up to a position."""

    upto: int
    events: int = 0
    """Those that were read."""
    other: int = 0
    """Those of types that no projection decodes."""
    seconds: float = 0.0
    types: list[TypeReport] = []

    @property
    def misfits(self) -> int:
        """Events that do not fit."""
        return sum(one.misfits for one in self.types)


def checked_types(projections: Sequence[Projection[Any]], *, examples: int) -> dict[str, CheckedType]:
    """By event type, what checks its events; events that a projection does not decode are not among them."""
    data_types: dict[str, dict[Any, None]] = {}
    for projection in projections:
        for event_type, subscription in projection.by_type.items():
            if subscription.data is not msgspec.Raw:
                data_types.setdefault(event_type, {})[subscription.data] = None
    return {name: CheckedType(name, list(found), examples=examples) for name, found in sorted(data_types.items())}


async def check_history(
    connection: Connection, checked: Mapping[str, CheckedType], say: Say, *, only: str | None = None
) -> HistoryReport:
    """Read the store up to its newest event, and check each; only those of one type, if it is given.

    Calls `say` with the progress every PROGRESS_SECONDS. Raises UnreadableHistoryError and database errors.
    """
    await stored_data.limit_statements(connection)
    report = HistoryReport(await stored_data.last_position(connection))
    used = {name: one for name, one in checked.items() if only in {None, name}}
    started = time.monotonic()
    await _check(HistoryPages(connection, list(used), report.upto, only=only is not None), used, report, say)
    report.seconds = time.monotonic() - started
    report.types = [one.report() for one in used.values()]
    await _name_examples(connection, report.types)
    return report


async def _check(pages: HistoryPages, checked: Mapping[str, CheckedType], report: HistoryReport, say: Say) -> None:
    started = last_report = time.monotonic()
    # The server prepares the next page meanwhile.
    following = asyncio.create_task(pages.read(0))
    try:
        while page := await following:
            following = asyncio.create_task(pages.read(page.end))
            await asyncio.sleep(0)
            _add(page, checked, report)
            now = time.monotonic()
            if now - last_report > PROGRESS_SECONDS:
                last_report = now
                say(f"event store: {page.end} of {report.upto}, {report.events / (now - started):,.0f} events/s")
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _add(page: HistoryPage, checked: Mapping[str, CheckedType], report: HistoryReport) -> None:
    report.events += len(page.rows)
    for position, event_type, text, _ in page.rows:
        if text is None:
            report.other += 1
        else:
            checked[event_type].add(position, text)
    if page.unread is not None:
        report.events += 1
        found = checked.get(page.unread.type)
        if found is None:
            report.other += 1
        else:
            found.add_unread(page.unread.position, page.unread.error)


async def _name_examples(connection: Connection, types: Sequence[TypeReport]) -> None:
    """Only now: to read the names of all events would take long."""
    examples = [example for one in types for example in one.examples]
    names = await stored_data.names(connection, [one.position for one in examples])
    for example in examples:
        name = names[example.position]
        example.source, example.id = name.source, name.id
