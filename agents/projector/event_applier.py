"""Applies events to one projection in order, from a batch or from the event store, and fills gaps between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from agents.kafka.fetch_batches import CheckedBatch
from agents.projector.batch_size import BatchSize
from agents.projector.locked_path import LockedPath
from agents.projector.memory_path import apply_from_memory
from agents.projector.projected_rows import ProjectedRows
from headrace.errors import DependencyAwayError
from headrace.events.topic_record import PastEvent, Record, past_records
from headrace.projection import Projection
from tables.database import TIMED_OUT, AnyConnection
from tables.history import event_store
from tables.projections import writing
from tables.unstorable import halve

State = TypeVar("State")

PAST_EVENTS_AT_ONCE = 1_000
NOTHING: Mapping[int, int] = {}


class SlowBatchError(DependencyAwayError):
    """PostgreSQL took too long to apply events."""


class EventApplier(Generic[State]):
    """Caches the rows that it wrote last, so that a single statement is usually enough.

    That statement fails if a row or the progress differs from the cache. Then the cache is cleared, and the events are
    applied in a transaction that locks the rows that it reads.
    """

    def __init__(self, projection: Projection[State], *, max_state_bytes: int) -> None:
        self._name = projection.name
        self._rows = ProjectedRows(projection, max_state_bytes=max_state_bytes)
        self._locked_path = LockedPath(self._rows)
        self._size = BatchSize()
        self._reads = BatchSize(PAST_EVENTS_AT_ONCE)
        self._turn = asyncio.Lock()
        """Held by the agent or by the catch-up: they share the cache."""

    async def apply_events(
        self,
        connection: AnyConnection,
        events: Sequence[Record],
        epoch: int | None,
        follows: Mapping[int, int] = NOTHING,
    ) -> None:
        """Apply events, in order of position, in one transaction unless they are too many or too large.

        Nothing is written unless `epoch` is still open (None if the caller does not know it), and the progress has
        reached `follows`, by partition the position before the first event.
        If PostgreSQL cannot store the result, the halves are applied separately, down to the single event to park.
        Raises SlowBatchError after a time-out, asyncpg.TransactionRollbackError, also for a deadlock, if an immediate
        retry is worthwhile, and any other error. On an error, uncommitted events are not applied.
        """
        async with self._turn:
            self._rows.use(epoch)
            self._locked_path.follows = follows
            first = 0
            while first < len(events):
                part = self._size.take(events, first)
                await self._apply_part(connection, part)
                first += len(part)

    async def _apply_part(self, connection: AnyConnection, events: Sequence[Record]) -> None:
        """Apply events in a transaction. A time-out parks nothing: the next attempt has fewer events, or more time."""
        started = time.monotonic()
        self._rows.seconds = self._size.seconds
        try:
            await halve(
                events,
                lambda part: self._apply_together(connection, part),
                lambda event, error: self._locked_path.park(connection, event, error),
            )
        except TIMED_OUT as error:
            self._size.note_time_out(len(events))
            first, last = events[0].position, events[-1].position
            raise SlowBatchError(
                f"PostgreSQL took too long for {len(events)} events (positions {first} to {last}); "
                f"the next attempt has at most {self._size.events}"
            ) from error
        self._size.note_done(time.monotonic() - started)

    async def _apply_together(self, connection: AnyConnection, events: Sequence[Record]) -> None:
        try:
            if not await apply_from_memory(connection, self._rows, events):
                await self._locked_path.apply(connection, events)
        except BaseException:
            self._rows.cache.forget()
            raise

    async def fill_gaps(self, connection: AnyConnection, batch: CheckedBatch, epoch: int | None) -> None:
        """Apply the stored events between the progress and the batch, if the batch does not follow the progress.

        That happens for a new projection, after a rebalance, and after the topic, its end or the group's offsets were
        lost. So it does if the topic lacks events in the middle of the batch: the broker has refused or compacted them,
        or their records are not genuine.
        """
        async with self._turn:
            self._rows.use(epoch)
        seen: set[int] = set()
        for event in batch.events:
            if event.partition in seen:
                continue
            seen.add(event.partition)
            follows = batch.follows.get(event.partition)
            if follows is None or follows > self._rows.cache.progress.get(event.partition, -1):
                await self.apply_partition(connection, event.partition, epoch, before=event.position)
        for partition, before in batch.lacking.items():
            if before - 1 > self._rows.cache.progress.get(partition, -1):
                await self.apply_partition(connection, partition, epoch, before=before)

    async def apply_partition(
        self, connection: AnyConnection, partition: int, epoch: int | None, *, before: int
    ) -> None:
        """Apply the stored events of a partition between its progress and a position."""
        after = await writing.start_progress(connection, self._name, partition)
        async with self._turn:
            self._rows.cache.check_progress(partition, after)
        await self.apply_past(connection, epoch, after=after, before=before, partition=partition)

    async def apply_past(
        self, connection: AnyConnection, epoch: int | None, *, after: int, before: int, partition: int | None = None
    ) -> None:
        """Apply the stored events strictly between two positions, of one partition or of all."""
        while events := await self._read_past(connection, after, before, partition):
            await self.apply_events(connection, past_records(events), epoch)
            after = events[-1].position

    async def _read_past(
        self, connection: AnyConnection, after: int, before: int, partition: int | None
    ) -> list[PastEvent]:
        """The next stored events. A time-out raises SlowBatchError; the next read has fewer events, or more time."""
        size, started = self._reads, time.monotonic()
        try:
            events = await event_store.read(
                connection, after=after, before=before, partition=partition, at_most=size.events, seconds=size.seconds
            )
        except TIMED_OUT as error:
            tried = size.events
            size.note_time_out(tried)
            raise SlowBatchError(
                f"PostgreSQL took too long to read {tried} stored events after position {after}; "
                f"the next attempt has at most {size.events}"
            ) from error
        size.note_done(time.monotonic() - started)
        return events
