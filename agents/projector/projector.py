"""The body of a projection's agent: a fetch is one transaction, which also moves the progress.

Guarantee: each event is applied to the projection exactly once and in the order of its partition, however often it
is delivered. An event that cannot be applied is parked with the later events of its key; every other key goes on.
Nothing but a cancellation leaves `apply`, because Faust acknowledges an event whose handler raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import asyncpg

from agents.kafka.fetch_batches import Record, RecordBatch, past_record
from agents.projector.cancellable import Attempts
from agents.projector.parking import parked_as, stops_before, unfit
from agents.projector.retry_schedule import Patience
from headrace.folding.blocked_groups import Stops
from headrace.folding.folding import Folding
from headrace.folding.row_cache import KnownRows, beyond, rows_to_write
from headrace.folding.state_json import StateError
from headrace.process.fault_points import (
    PROJECTOR_ACKNOWLEDGING,
    PROJECTOR_COMMITTED,
    PROJECTOR_FETCHED,
    PROJECTOR_WRITING,
)
from headrace.process.histogram import EVENTS, SECONDS, Histogram
from headrace.process.throttled_log import Rarely
from headrace.process.waiting import backoff_seconds
from headrace.projection import Projection
from tables.database import AnyConnection, Database
from tables.history import event_store
from tables.intake.disk_space import DiskSpace
from tables.parked import parked
from tables.parked.parked import ParkedEvent
from tables.projections import writing
from tables.projections.writing import Known, Span

State = TypeVar("State")

log = logging.getLogger(__name__)

PAST_EVENTS_AT_ONCE = 1_000

# PostgreSQL cannot hold what a handler made of an event, or the row is not what the handler takes: no retry helps.
UNSTORABLE = (
    StateError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)


class Projector(Generic[State]):
    """Applies what is fetched to one projection.

    What it wrote last it remembers, so that as a rule one statement does it all. That statement fails when anything
    is not as remembered; then everything is forgotten, and done again in a transaction that locks what it reads.
    """

    def __init__(self, projection: Projection[State], database: Database, disk_space: DiskSpace | None = None) -> None:
        self._name = projection.name
        self.batch_events = Histogram(EVENTS)
        self.batch_seconds = Histogram(SECONDS)
        self.failed_attempts = 0
        self._attempts = Attempts()
        self._disk_space = disk_space or DiskSpace()
        self._folding = Folding(projection)
        self._database = database
        self._known: KnownRows[State] = KnownRows()
        self._patience = Patience()
        self._turn = asyncio.Lock()
        """The agent and the catching up take turns: what is remembered belongs to one of them at a time."""
        self._rarely = Rarely(log)

    async def apply(self, batch: RecordBatch) -> None:
        """Apply a batch; returns only when it is committed."""
        started = time.perf_counter()
        for wait in backoff_seconds():
            await self._disk_space.room()
            try:
                async with self._attempts.one():
                    await self._apply_batch(batch)
            except asyncpg.TransactionRollbackError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is: an exception that leaves would lose the batch
                self.failed_attempts += 1
                self._disk_space.saw(error)
                self._rarely.warning(f"Projection {self._name} waits with its events: %r", error)
                await asyncio.sleep(wait)
            else:
                break
        self.batch_seconds.observe(time.perf_counter() - started)
        self.batch_events.observe(len(batch.events()))

    def restart(self) -> None:
        """Begin anew with what is under way: with nothing remembered, on another connection."""
        self._attempts.end()

    async def _apply_batch(self, batch: RecordBatch) -> None:
        if PROJECTOR_FETCHED.armed:
            await PROJECTOR_FETCHED.passed()
        async with self._database.acquire() as connection:
            await self._fill_gaps(connection, batch)
            await self.apply_events(connection, batch.events())
            if PROJECTOR_COMMITTED.armed:
                await PROJECTOR_COMMITTED.passed()
        if PROJECTOR_ACKNOWLEDGING.armed:
            await PROJECTOR_ACKNOWLEDGING.passed()

    async def catch_up(self) -> None:
        """Apply what is stored and not applied yet, straight from the store: for a new projection, everything.

        Raises what the database raises, apart from a difference to what is remembered, which it looks at again.
        """
        done = False
        while not done:
            await self._disk_space.room()
            with contextlib.suppress(asyncpg.TransactionRollbackError):
                async with self._attempts.one(), self._database.acquire() as connection:
                    before = await event_store.last_position(connection) + 1
                    after = await writing.first_progress(connection, self._name)
                    if after is not None:
                        await self._apply_past(connection, after=after, before=before)
                done = True

    async def apply_events(self, connection: AnyConnection, events: Sequence[Record]) -> None:
        """Apply events, in order of position, in one transaction; where PostgreSQL cannot hold the result, in halves,
        down to the one event that is then parked.

        Raises what goes wrong, asyncpg.TransactionRollbackError (a deadlock too) when it is worth another try at once.
        What was not committed then is not done.
        """
        async with self._turn:
            await self._apply_parts(connection, events)

    async def _apply_parts(self, connection: AnyConnection, events: Sequence[Record]) -> None:
        if not events:
            return
        try:
            if not await self._apply_from_memory(connection, events):
                await self._apply_patiently(connection, events)
        except UNSTORABLE as error:
            self._known.forget()
            if len(events) == 1:
                await self._apply_locked(connection, events, unstorable=error)
                return
            half = len(events) // 2
            await self._apply_parts(connection, events[:half])
            await self._apply_parts(connection, events[half:])
        except BaseException:
            self._known.forget()
            raise

    async def _fill_gaps(self, connection: AnyConnection, batch: RecordBatch) -> None:
        """Apply what lies between the progress and the batch, where the batch does not follow what was applied last.

        So it is for a new projection, after a rebalance, and after the topic, its end or the group's offsets were lost.
        """
        seen: set[int] = set()
        for event in batch.events():
            if event.partition in seen:
                continue
            seen.add(event.partition)
            follows = batch.follows.get(event.partition)
            if follows is None or follows > self._known.progress.get(event.partition, -1):
                after = await writing.start_progress(connection, self._name, event.partition)
                await self._apply_past(connection, after=after, before=event.position, partition=event.partition)

    async def _apply_past(
        self, connection: AnyConnection, *, after: int, before: int, partition: int | None = None
    ) -> None:
        while events := await event_store.read(
            connection, after=after, before=before, partition=partition, at_most=PAST_EVENTS_AT_ONCE
        ):
            await self.apply_events(connection, [record for event in events if (record := past_record(event))])
            after = events[-1].position

    async def _apply_from_memory(self, connection: AnyConnection, events: Sequence[Record]) -> bool:
        """Apply in one statement, resting on what is remembered; False when that is not enough."""
        known = self._known
        if known.has_parked or any(event.partition not in known.progress for event in events):
            return False
        new, spans = beyond(known.progress, events)
        chosen, unreadable = self._folding.choose(new)
        if unreadable:
            return False
        keys = {one.key for one in chosen}
        if missing := known.missing(keys):
            self._remember(missing, await writing.read_rows(connection, self._name, missing))
        states = {key: known[key].state for key in keys}
        changed, failed = self._folding.fold(states, chosen, Stops())
        if failed:
            known.forget()
            return False
        if new:
            await self._write(connection, spans, states, changed, if_none_is_parked=True)
            known.reach(spans)
        return True

    async def _apply_patiently(self, connection: AnyConnection, events: Sequence[Record]) -> None:
        """Apply under locks; what fails is tried again, and then parked."""
        for attempts, wait in enumerate(self._patience.waits(), start=1):
            if await self._apply_locked(connection, events, attempts=attempts, park=wait is None):
                return
            await asyncio.sleep(wait or 0)

    async def _apply_locked(
        self,
        connection: AnyConnection,
        events: Sequence[Record],
        *,
        attempts: int = 1,
        park: bool = True,
        unstorable: Exception | None = None,
    ) -> bool:
        """Apply under locks what is new of the events; with `unstorable`, which says why, park them instead.

        False when an event failed and none may be parked; nothing is written then.
        """
        partitions = sorted({event.partition for event in events})
        for partition in partitions:
            if partition not in self._known.progress:
                await writing.start_progress(connection, self._name, partition)
        async with connection.transaction():
            progress = await writing.lock_progress(connection, self._name, partitions)
            new, spans = beyond(progress, events)
            chosen, unreadable = self._folding.choose(new)
            if unstorable is not None:
                unreadable += [unfit(one, unstorable) for one in chosen]
                chosen = []
            keys = sorted({one.key for one in chosen})
            found = await writing.read_rows(connection, self._name, keys, lock=True)
            # After the locks, so that an event that was parked by who held them is seen.
            stops = await stops_before(connection, self._name, chosen, unreadable)
            going = {one.key for one in chosen if not stops.group_of(one.event.position, one.key, one.partition_key)}
            self._remember(sorted(going), found)
            states = {key: self._known[key].state for key in going}
            changed, waiting = self._folding.fold(states, chosen, stops, attempts)
            waiting += [parked_as(one, stops, attempts) for one in unreadable]
            if not park and any(event.attempts for event in waiting):
                return False
            if new:
                await self._write(connection, spans, states, changed)
            await self._park(connection, waiting)
            has_parked = await parked.has_parked(connection, self._name)
        self._known.progress.update(progress)
        self._known.reach(spans)
        self._known.has_parked = has_parked
        return True

    def _remember(self, keys: Sequence[str], found: Mapping[str, Known]) -> None:
        for key in keys:
            self._known.remember(key, self._folding.known_row(found.get(key)))

    async def _write(
        self,
        connection: AnyConnection,
        spans: Mapping[int, Span],
        states: Mapping[str, State | None],
        changed: Mapping[str, int],
        *,
        if_none_is_parked: bool = False,
    ) -> None:
        rows, after = rows_to_write(self._known, states, changed)
        if PROJECTOR_WRITING.armed:
            await PROJECTOR_WRITING.passed()
        await writing.write(connection, self._name, spans, rows, if_none_is_parked=if_none_is_parked)
        for key, row in after.items():
            self._known.remember(key, row)

    async def _park(self, connection: AnyConnection, events: Sequence[ParkedEvent]) -> None:
        if not events:
            return
        await parked.park(connection, self._name, events)
        for event in events:
            self._rarely.warning(
                f"Projection {self._name} parked the event at position %s (key %r): %s",
                event.position,
                event.group.key,
                event.error,
            )


def agent_of(projector: Projector[Any]) -> Callable[[Any], Awaitable[None]]:
    """The body of a Faust agent: applies each batch, and acknowledges it only then."""

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            await projector.apply(event.value)
            await stream.ack(event)

    return agent
