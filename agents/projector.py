"""The body of a projection's agent: a batch is one transaction, which also moves the progress.

Guarantee: each event is applied to the projection exactly once and in the order of its partition, however often it
is delivered. An event that cannot be applied is parked with the later events of its key; every other key goes on.
Nothing but a cancellation leaves `apply`, because Faust acknowledges an event whose handler raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import asyncpg

from agents.batches import Record, RecordBatch, past_record
from agents.folding import Folding
from app.projection import Projection
from app.rarely import Rarely
from app.waiting import backoff_seconds
from tables import event_store, parked, projection_rows
from tables.database import AnyConnection, Database
from tables.parked import ParkedEvent

State = TypeVar("State")

log = logging.getLogger(__name__)

PAST_EVENTS_AT_ONCE = 1_000

# PostgreSQL cannot hold what a handler made of an event: no retry helps.
UNSTORABLE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Projector(Generic[State]):
    """Applies batches of events to one projection."""

    def __init__(self, projection: Projection[State], database: Database) -> None:
        self._name = projection.name
        self._folding = Folding(projection)
        self._database = database
        self._started: set[int] = set()
        self._without_gap: set[int] = set()
        self._rarely = Rarely(log)

    async def apply(self, batch: RecordBatch) -> None:
        """Apply a batch; returns only when that is committed."""
        for wait in backoff_seconds():
            try:
                async with self._database.acquire() as connection:
                    await self._fill_gap(connection, batch)
                    await self.apply_parts(connection, batch.partition, batch.events())
            except projection_rows.RowsChangedError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is: an exception that leaves would lose the batch
                self._rarely.warning(
                    f"Projection {self._name} waits at a batch of partition %s: %r", batch.partition, error
                )
                await asyncio.sleep(wait)
            else:
                return

    async def catch_up(self) -> None:
        """Apply what is stored and not applied yet, straight from the store: for a new projection, everything."""
        async with self._database.acquire() as connection:
            last = await event_store.last_position(connection)
            position = await projection_rows.first_progress(connection, self._name)
            while position is not None and (
                events := await event_store.read(
                    connection, after=position, before=last + 1, at_most=PAST_EVENTS_AT_ONCE
                )
            ):
                by_partition: dict[int, list[Record]] = defaultdict(list)
                for event in events:
                    if record := past_record(event):
                        by_partition[event.partition].append(record)
                for partition, records in by_partition.items():
                    await self.apply_parts(connection, partition, records)
                position = events[-1].position

    async def _fill_gap(self, connection: AnyConnection, batch: RecordBatch) -> None:
        """Before the first batch of a partition: apply what lies between the progress and the batch.

        The topic starts later than the progress for a new projection, and after the topic or the group's offsets
        were lost. After that, the partition's records follow each other.
        """
        if batch.partition in self._without_gap or not batch.events():
            return
        position = await self._start(connection, batch.partition)
        before = batch.events()[0].position
        while events := await event_store.read(
            connection, after=position, before=before, partition=batch.partition, at_most=PAST_EVENTS_AT_ONCE
        ):
            records = [record for event in events if (record := past_record(event))]
            await self.apply_parts(connection, batch.partition, records)
            position = events[-1].position
        self._without_gap.add(batch.partition)

    async def _start(self, connection: AnyConnection, partition: int) -> int:
        self._started.add(partition)
        return await projection_rows.start_progress(connection, self._name, partition)

    async def apply_parts(self, connection: AnyConnection, partition: int, events: Sequence[Record]) -> None:
        """Apply the events in one transaction; where PostgreSQL cannot hold the result, in halves, down to the one
        that is then parked."""
        try:
            await self.apply_once(connection, partition, events)
        except UNSTORABLE as error:
            if len(events) > 1:
                half = len(events) // 2
                await self.apply_parts(connection, partition, events[:half])
                await self.apply_parts(connection, partition, events[half:])
            else:
                await self.apply_once(connection, partition, events, unstorable=error)

    async def apply_once(
        self,
        connection: AnyConnection,
        partition: int,
        events: Sequence[Record],
        *,
        unstorable: Exception | None = None,
    ) -> None:
        """Apply what is new of these events, in one transaction; raises what goes wrong, and then nothing is done.

        With `unstorable`, which says why they cannot be applied, they are parked instead.
        """
        if partition not in self._started:
            await self._start(connection, partition)
        async with connection.transaction():
            progress, has_parked = await projection_rows.lock_progress(connection, self._name, partition)
            new = _after(progress, events)
            if not new:
                return
            chosen, waiting = self._folding.choose(new, unstorable=unstorable)
            keys = sorted({one.key for one in chosen})
            if chosen and has_parked:
                blocked = await parked.parked_keys(connection, self._name, keys)
            else:
                blocked = set()
            if chosen:
                known = await projection_rows.lock_rows(connection, self._name, keys)
                rows, failed = self._folding.fold(known, chosen, blocked)
                waiting += failed
                await projection_rows.write_rows(connection, self._name, rows)
            if waiting:
                await self._park(connection, waiting)
            await projection_rows.move_progress(connection, self._name, partition, new[-1].position)

    async def _park(self, connection: AnyConnection, events: Sequence[ParkedEvent]) -> None:
        await parked.park(connection, self._name, events)
        for event in events:
            self._rarely.warning(
                f"Projection {self._name} parked the event at position %s (key %r): %s",
                event.position,
                event.key,
                event.error,
            )


def agent_of(projector: Projector[Any]) -> Callable[[Any], Awaitable[None]]:
    """The body of a Faust agent: applies each batch, and acknowledges it only then."""

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            await projector.apply(event.value)
            await stream.ack(event)

    return agent


def _after(progress: int, records: Sequence[Record]) -> list[Record]:
    """What is beyond the progress, each position once: a round that was published again repeats itself."""
    new = []
    for record in records:
        if record.position > progress:
            progress = record.position
            new.append(record)
    return new
