"""Whether known events were sent with the same content, where only their documents can tell.

That is rare: a large event in another spelling, a conflict with one, or events of one name that arrive together.
The documents may have a megabyte each, so they are compared beside the group commit. Only their senders wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace.errors import DependencyAwayError, HeadraceError
from headrace.events.envelope import ParsedEvent
from tables.database import AnyConnection, Database
from tables.intake import outbox

SECONDS = 10.0
"""The time limit of one request, with waiting."""
SECONDS_IN_A_TRANSACTION = 1.0
"""The time limit of a request whose other events are not committed before the comparison: all others wait for it."""
DOCUMENTS_AT_ONCE = 20
EVENTS_AT_ONCE = 500
BYTES_AT_ONCE = 500_000


class ComparisonsBusyError(HeadraceError):
    """Too many documents wait to be compared; send the same events again later."""


class Comparisons:
    """Compares documents, a few at a time, in turns of all who wait. A worker's door has one instance."""

    def __init__(self, database: Database, *, max_bytes: int) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._waiting_bytes = 0
        self._turn = asyncio.Semaphore(1)

    async def compare(self, events: Sequence[ParsedEvent], connection: AnyConnection | None = None) -> list[bool]:
        """Whether each of these known events has the known content.

        With `connection`, its transaction is used, and less time. Raises ComparisonsBusyError when there is too much
        to compare, and the errors of a database that is away.
        """
        distinct = {(one.source, one.id, one.text, one.time_given): one for one in events}
        size = sum(len(one.text) for one in distinct.values())
        if self._waiting_bytes and self._waiting_bytes + size > self._max_bytes:
            raise ComparisonsBusyError
        self._waiting_bytes += size
        time = asyncio.timeout(SECONDS if connection is None else SECONDS_IN_A_TRANSACTION)
        try:
            async with time:
                same = await self._compare(list(distinct.values()), connection)
        except TimeoutError:
            if not time.expired():
                raise
            raise ComparisonsBusyError from None
        finally:
            self._waiting_bytes -= size
        verdicts = dict(zip(distinct, same, strict=True))
        return [verdicts[one.source, one.id, one.text, one.time_given] for one in events]

    async def _compare(self, events: Sequence[ParsedEvent], connection: AnyConnection | None) -> list[bool]:
        same: list[bool] = []
        while len(same) < len(events):
            part = _part(events[len(same) :])
            if connection is None:
                async with self._turn, self._database.acquire("work") as own:
                    known = await outbox.compare(own, part)
            else:
                known = await outbox.compare(connection, part)
            if len(known) < len(part):
                raise DependencyAwayError("A known event was not found.")
            same += [known[index] for index in range(len(part))]
        return same


def _part(events: Sequence[ParsedEvent]) -> Sequence[ParsedEvent]:
    size = 0
    names: set[tuple[str, str]] = set()
    for count, event in enumerate(events[:EVENTS_AT_ONCE], start=1):
        size += len(event.text)
        names.add((event.source, event.id))
        if size >= BYTES_AT_ONCE or len(names) == DOCUMENTS_AT_ONCE:
            return events[:count]
    return events[:EVENTS_AT_ONCE]
