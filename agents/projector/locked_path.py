"""The careful path of a projector: a transaction that locks the rows it reads, and parks events that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import asyncpg

from agents.projector.parking import blocked_before, parked_as, unfit
from agents.projector.projected_rows import ProjectedRows
from agents.projector.retry_schedule import RetrySchedule
from headrace.events.topic_record import Record
from headrace.folding.row_cache import beyond
from headrace.folding.rows import ParkedEvent
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from tables.database import AnyConnection
from tables.parked import parked
from tables.projections import writing

State = TypeVar("State")

log = ActionLog(__name__)


class LockedPath(Generic[State]):
    """Applies events of one projection under row locks, and retries a failed event before parking it."""

    def __init__(self, rows: ProjectedRows[State]) -> None:
        self._rows = rows
        self.follows: Mapping[int, int] = {}
        """By partition, the position that the progress must have reached before events may be applied."""
        self._retry_schedule = RetrySchedule()
        self._throttled = ThrottledLog(log)

    async def apply(self, connection: AnyConnection, events: Sequence[Record]) -> None:
        """Apply the events; retry an event that fails, then park it."""
        for attempts, wait in enumerate(self._retry_schedule.waits(), start=1):
            if await self._apply_once(connection, events, attempts=attempts, park=wait is None):
                return
            await asyncio.sleep(wait or 0)

    async def park(self, connection: AnyConnection, event: Record, error: Exception) -> None:
        """Park an event whose result PostgreSQL cannot store, with `error` as the reason."""
        self._rows.cache.forget()
        await self._apply_once(connection, [event], unstorable=error)

    async def _apply_once(
        self,
        connection: AnyConnection,
        events: Sequence[Record],
        *,
        attempts: int = 1,
        park: bool = True,
        unstorable: Exception | None = None,
    ) -> bool:
        """Apply the events beyond the progress; with `unstorable`, park them instead.

        Return False, with nothing written, if an event failed and `park` is false.
        """
        rows, cache = self._rows, self._rows.cache
        partitions = sorted({event.partition for event in events})
        await self._start_progress(connection, partitions)
        async with connection.transaction():
            progress = await writing.lock_progress(connection, rows.name, partitions)
            self._check_progress(progress)
            new, spans = beyond(progress, events)
            chosen, unreadable = rows.folding.choose(new)
            if unstorable is not None:
                chosen, unreadable = [], [*unreadable, *(unfit(candidate, unstorable) for candidate in chosen)]
            keys = sorted({candidate.key for candidate in chosen})
            found = await writing.read_rows(connection, rows.name, keys, lock=True, seconds=rows.seconds)
            # After locking, to see events that the previous lock holder parked.
            blocked = await blocked_before(connection, rows.name, chosen, unreadable)
            free = {one.key for one in chosen if not blocked.group_of(one.event.position, one.key, one.partition_key)}
            rows.remember(sorted(free), found)
            states = rows.states(free)
            changed, waiting = rows.folding.fold(states, chosen, blocked, attempts)
            if park:
                rows.restore(states, found, new, waiting)
            waiting += [parked_as(event, blocked, attempts) for event in unreadable]
            if not park and any(event.attempts for event in waiting):
                return False
            if new:
                await rows.write(connection, spans, states, changed)
            await self._park(connection, waiting)
            has_parked = await parked.has_parked(connection, rows.name)
        cache.progress.update(progress)
        cache.reach(spans)
        cache.has_parked = has_parked
        return True

    def _check_progress(self, progress: Mapping[int, int]) -> None:
        """Raise SerializationError if events are missing: the progress was taken from a cache, and has stepped back."""
        if any(progress[partition] < self.follows.get(partition, 0) for partition in progress):
            raise asyncpg.SerializationError("the progress has stepped back since it was read")

    async def _start_progress(self, connection: AnyConnection, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if partition not in self._rows.cache.progress:
                await writing.start_progress(connection, self._rows.name, partition)

    async def _park(self, connection: AnyConnection, events: Sequence[ParkedEvent]) -> None:
        if not events:
            return
        await parked.park(connection, self._rows.name, events)
        for event in events:
            self._throttled.warning(
                LogAction.PROJECTION_PARKED,
                "Projection {projection} parked the event at position {position} (key {key!r}): {error} (at {at})",
                projection=self._rows.name,
                position=event.position,
                key=event.group.key,
                error=event.error,
                at="; ".join(event.traceback.splitlines()) if event.traceback else "no code of the projection",
            )
