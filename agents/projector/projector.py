"""The loop of a projector: retries each batch until it is applied, committed and acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import asyncpg

from agents.kafka.authority import Authority
from agents.kafka.fetch_batches import CheckedBatch, RecordBatch
from agents.projector.cancellable import CancellableAttempts
from agents.projector.event_applier import EventApplier, SlowBatchError
from headrace.folding.folding import MAX_STATE_BYTES
from headrace.process.action_log import ActionLog, in_words
from headrace.process.fault_points import PROJECTOR_ACKNOWLEDGING, PROJECTOR_COMMITTED, PROJECTOR_FETCHED
from headrace.process.histogram import EVENTS, SECONDS, Histogram
from headrace.process.log_actions import LogAction
from headrace.process.parts import OK, Condition, Headway
from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import backoff_seconds
from headrace.projection import Projection
from tables.database import AnyConnection, Database, is_away
from tables.history import event_store
from tables.intake.disk_space import DiskSpace
from tables.projections import writing

State = TypeVar("State")

CATCH_UP_PAUSE_SECONDS = 1.0
"""Before a catch-up that failed is called again."""

log = ActionLog(__name__)


class Projector(Generic[State]):
    """Applies fetched batches to one projection, and retries each until it is committed."""

    def __init__(
        self,
        projection: Projection[State],
        database: Database,
        disk_space: DiskSpace | None = None,
        *,
        authority: Authority | None = None,
        max_state_bytes: int = MAX_STATE_BYTES,
    ) -> None:
        """Without an authority all events are applied, whoever wrote them: only for events from no topic."""
        self.applier = EventApplier(projection, max_state_bytes=max_state_bytes)
        self.batch_events = Histogram(EVENTS)
        self.batch_seconds = Histogram(SECONDS)
        self.failed_attempts = 0
        self.is_applying = False
        """Whether the agent has a batch that is not applied yet."""
        self.name = projection.name
        self._database = database
        self._disk_space = disk_space or DiskSpace()
        self._authority = authority
        self._attempts = CancellableAttempts()
        self._throttled = ThrottledLog(log)
        self._headway = Headway(OK)
        self.condition = self._headway.condition
        """Whether batches are applied; a batch that is retried in vain for long is reported."""

    async def apply(self, batch: RecordBatch) -> None:
        """Apply a batch; return only when it is committed."""
        started, events = time.perf_counter(), 0
        self.is_applying = True
        for attempt, wait in enumerate(backoff_seconds()):
            await self._disk_space.wait_for_space()
            try:
                async with self._attempts.attempt():
                    events = await self._apply_batch(batch, again=attempt > 0)
            except asyncpg.TransactionRollbackError:
                continue
            except Exception as error:  # noqa: BLE001 - any exception that escaped would lose the batch
                self._note_failure(error, wait)
                await asyncio.sleep(wait)
            else:
                break
        self.is_applying = False
        self._headway.note(OK)
        self.batch_seconds.observe(time.perf_counter() - started)
        self.batch_events.observe(events)

    def restart(self) -> None:
        """Cancel the attempts in flight; they are retried with an empty cache, on another connection."""
        self._attempts.cancel()

    async def _apply_batch(self, batch: RecordBatch, *, again: bool) -> int:
        """Apply a batch once; return the number of its events. After a failure, the database may have been moved."""
        if PROJECTOR_FETCHED.armed:
            await PROJECTOR_FETCHED.passed()
        async with self._database.acquire() as connection:
            checked, epoch = await self._check(connection, batch, again=again)
            await self.applier.fill_gaps(connection, checked, epoch)
            await self.applier.apply_events(connection, checked.events, epoch, checked.follows)
            if PROJECTOR_COMMITTED.armed:
                await PROJECTOR_COMMITTED.passed()
        if PROJECTOR_ACKNOWLEDGING.armed:
            await PROJECTOR_ACKNOWLEDGING.passed()
        return len(checked.events)

    async def _check(
        self, connection: AnyConnection, batch: RecordBatch, *, again: bool
    ) -> tuple[CheckedBatch, int | None]:
        """The events to apply, and the epoch in which they may be."""
        if self._authority is None:
            return batch.unchecked(), None
        up_to = (await self._authority.refreshed(connection)).last_position if again else None
        checked, timeline = await self._authority.check(connection, batch, up_to)
        return checked, timeline.epoch

    async def _epoch(self, connection: AnyConnection) -> int | None:
        return (await self._authority.refreshed(connection)).epoch if self._authority else None

    async def catch_up(self) -> bool:
        """Apply all stored events that are not applied yet, directly from the event store.

        Return False if that has to be called again, and raise errors, as `_until_done` does.
        """

        async def work(connection: AnyConnection) -> None:
            epoch = await self._epoch(connection)
            before = await event_store.last_position(connection) + 1
            after = await writing.first_progress(connection, self.name)
            if after is not None:
                await self.applier.apply_past(connection, epoch, after=after, before=before)

        return await self._until_done(work)

    async def catch_up_with(self, partition: int, position: int) -> bool:
        """Apply the stored events of a partition up to a position that the topic lacks.

        Return False if that has to be called again, and raise errors, as `_until_done` does.
        """

        async def work(connection: AnyConnection) -> None:
            epoch = await self._epoch(connection)
            await self.applier.apply_partition(connection, partition, epoch, before=position + 1)

        return await self._until_done(work)

    async def _until_done(self, work: Callable[[AnyConnection], Awaitable[None]]) -> bool:
        """Repeat a catch-up after conflicts with other writers.

        Return False, after a line in the log, if it was too slow, so that the next call has smaller parts, or failed
        unexpectedly. Raises errors that mean that PostgreSQL is away.
        """
        while True:
            await self._disk_space.wait_for_space()
            try:
                async with self._attempts.attempt(), self._database.acquire() as connection:
                    await work(connection)
            except asyncpg.TransactionRollbackError:
                continue
            except Exception as error:
                if is_away(error) and not isinstance(error, SlowBatchError):
                    raise
                self._note_failure(error, CATCH_UP_PAUSE_SECONDS)
                return False
            if not self.is_applying:
                self._headway.note(OK)
            return True

    def _note_failure(self, error: Exception, seconds: float) -> None:
        self.failed_attempts += 1
        self._headway.note(Condition("waiting", in_words(error)))
        self._disk_space.note_error(error)
        self._throttled.warning(
            LogAction.PROJECTION_RETRYING,
            "Projection {projection}: batch failed, retrying in {seconds:.1f} s: {error}",
            projection=self.name,
            seconds=seconds,
            error=error,
        )


def agent_of(projector: Projector[Any]) -> Callable[[Any], Awaitable[None]]:
    """The body of a Faust agent, which applies each batch and then acknowledges it."""

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            await projector.apply(event.value)
            await stream.ack(event)

    return agent
