"""`?as_of=position` on a row: its state when the event at that position was the newest.

Folded from the event store by the projection's own functions, without parked and discarded events. The cost of a
request grows with the events of the row, so few requests run at a time, each within a time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

import asyncpg
import msgspec

from headrace.errors import HeadraceError
from headrace.folding.failures import reason
from headrace.folding.folding import Folding
from headrace.folding.row_history import RowHistory
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from headrace.projection import FedBy, Projection
from tables.database import READ_SECONDS, READ_WAIT_SECONDS, Database
from tables.history import event_store, row_events
from tables.history.row_events import Feeding
from tables.projections.rows import Row, as_stored

throttled = ThrottledLog(ActionLog(__name__))

MOST_AT_ONCE = 1
MOST_WAITING = 20
EVENTS_AT_ONCE = 300
SECONDS = READ_SECONDS
"""The time limit of one request; the server ends a statement after the same time."""


class TooFarAheadError(HeadraceError):
    """The position is beyond the newest event."""


class TooManyAsOfError(HeadraceError):
    """Too many as_of requests; try again later."""


class TooManyEventsError(HeadraceError):
    """The row could not be folded within the time limit: it has too many events."""


class AsOf:
    """Folds rows of the past, few at a time. A worker has one instance."""

    def __init__(
        self,
        database: Database,
        projections: Sequence[Projection[Any]],
        foldings: Mapping[str, Folding[Any]],
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._database = database
        self._projections = {projection.name: projection for projection in projections}
        self._foldings = foldings
        self._seconds = seconds
        self._running = asyncio.Semaphore(MOST_AT_ONCE)
        self._waiting = 0

    async def read(self, projection: str, key: str, position: int) -> Row | None:
        """The row as it was; None where it did not exist.

        Its version counts the events that were applied to it, and `updated_at` is when the last of them was stored.
        Raises TooFarAheadError, TooManyAsOfError, TooManyEventsError, and the errors of a database that is away.
        """
        if self._waiting >= MOST_WAITING:
            raise TooManyAsOfError
        self._waiting += 1
        try:
            await self._turn()
            try:
                return await self._read_in_time(projection, key, position)
            finally:
                self._running.release()
        finally:
            self._waiting -= 1

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(READ_WAIT_SECONDS):
                await self._running.acquire()
        except TimeoutError:
            raise TooManyAsOfError from None

    async def _read_in_time(self, projection: str, key: str, position: int) -> Row | None:
        time = asyncio.timeout(self._seconds)
        try:
            async with time:
                return await self._read(projection, key, position)
        except (TimeoutError, asyncpg.QueryCanceledError) as error:
            if isinstance(error, TimeoutError) and not time.expired():
                raise
            raise TooManyEventsError from None

    async def _read(self, projection: str, key: str, up_to: int) -> Row | None:
        feeding = _feeding(self._projections[projection], key)
        row = RowHistory(self._foldings[projection], key)
        recorded: dict[int, datetime] = {}
        async with self._database.acquire("reads") as connection:
            newest = await event_store.last_position(connection)
            if up_to > newest:
                raise TooFarAheadError(f"The newest event has position {newest}; as_of may be 1 up to that.")
            after = 0
            while events := await row_events.read_feeding(
                connection, projection, feeding, after=after, up_to=up_to, at_most=EVENTS_AT_ONCE
            ):
                row.add([one.event for one in events])
                recorded = {
                    one.event.position: one.recorded_at for one in events if one.event.position == row.position
                } or recorded
                after = events[-1].event.position
            if (state := row.state()) is None:
                return None
            stored = msgspec.Raw(await as_stored(connection, state))
        return Row(projection, key, row.position, row.events, recorded[row.position], stored)


def etag_of(body: bytes) -> str:
    """Of the content: a row of the past changes only when its events or the projection's functions do."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def _feeding(projection: Projection[Any], key: str) -> Feeding:
    try:
        fed_by = projection.fed_by(key)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
        throttled.warning(
            LogAction.FED_BY_FAILED,
            "Projection {projection}: fed_by({key!r}) failed; all events of its types are read: {error}",
            projection=projection.name,
            key=key,
            error=reason(error),
        )
        fed_by = FedBy()
    types = fed_by.types
    if types is None and projection.otherwise is None:
        types = list(projection.by_type)
    return Feeding(fed_by.subjects, types, fed_by.times)
