"""Outbox -> event store -> topic -> delete.

Guarantee: an event of the outbox gets its position once, in the order of `seq`, in a commit before anything is
published; it leaves the outbox only after it is stored and acknowledged by the broker. In a topic's partition no
event appears for the first time before an earlier one. Exactly one relay of a database is active: it holds an
advisory lock and writes on the connection that holds it, so one that lost the lock cannot write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import asyncpg
from aiokafka.errors import KafkaError

from agents.background import Background
from agents.relay.publisher import Publisher, TopicLostError, TopicTooSmallError
from agents.relay.topic_refill import refill
from headrace.process.fault_points import RELAY_PUBLISHED, RELAY_STORED, RELAY_STORING
from headrace.process.waiting import WakeUp, backoff_seconds
from tables import database
from tables.database import Database
from tables.intake import outbox
from tables.intake.disk_space import DiskSpace
from tables.intake.outbox import StoredEvent
from tables.lock_keys import LockKey

STANDBY_SECONDS = 0.5
# PostgreSQL ends the session, and with it the lock, of a relay that it has not heard of for so long: one whose process
# is frozen would keep it for ever, because its system still answers for it.
SILENT_SECONDS = 20.0
SILENT_WATCHDOGS = 3
PAST_EVENTS_AT_ONCE = 200
EVERYWHERE = 2**62
# A round waits for other writers' locks at the most; longer than any statement should take.
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.004
# A round with more events than these was one of some 2,000 a second or more: from there throughput counts.
FEW_EVENTS = 20
PAUSE_SECONDS_AN_EVENT_MORE = 0.001
MOST_PAUSE_SECONDS = 0.05

# What the publisher raises when it is not certain that the broker has a round.
UNPUBLISHED = (KafkaError, OSError, TimeoutError, TopicLostError, TopicTooSmallError)
MOST_WAIT_SECONDS = 2.0

log = logging.getLogger(__name__)


class Relay(Background):
    """The relay of one worker: active, or standing by for the lock."""

    def __init__(
        self,
        source: Database,
        publisher: Publisher,
        wake_up: WakeUp,
        *,
        batch_events: int,
        watchdog_seconds: float,
        disk_space: DiskSpace | None = None,
    ) -> None:
        super().__init__()
        self.is_active = False
        self.rounds = self.events = self.publish_errors = 0
        """Since the start, for the metrics."""
        self._disk_space = disk_space or DiskSpace()
        self._source = source
        self._publisher = publisher
        self._wake_up = wake_up
        self._batch_events = batch_events
        self._watchdog_seconds = watchdog_seconds
        self._among_last = outbox.MOST_ROUND_EVENTS

    def wake(self) -> None:
        self._wake_up.set()

    async def on_stop(self) -> None:
        await super().on_stop()
        await self._publisher.discard()

    async def run(self) -> None:
        """Stand by for the lock, then relay for as long as the connection that holds it lives."""
        await self._wait_for_room()
        connection = await database.connect(
            self._source.dsn,
            timeout_seconds=TIMEOUT_SECONDS,
            idle_seconds=max(SILENT_SECONDS, self._watchdog_seconds * SILENT_WATCHDOGS),
        )
        try:
            while not await outbox.try_lock(connection, LockKey.RELAY):
                await self.sleep(STANDBY_SECONDS)
                if self.should_stop:
                    return
            self.is_active = True
            log.info("This worker's relay is active.")
            await self._finish_what_is_stored(connection, among_last=self._among_last)
            self._among_last = outbox.MOST_ROUND_EVENTS
            await self._relay(connection)
        except asyncpg.UniqueViolationError:
            # The outbox holds an event that is already stored, where none should be: the next life looks everywhere.
            self._among_last = EVERYWHERE
            self.throttled.warning("The outbox holds an event that is already stored; it is published again.")
        except asyncpg.DiskFullError as error:
            self._disk_space.saw(error)
            raise
        finally:
            self.is_active = False
            database.drop(connection)
            # Another relay may publish before this one does again.
            await self._publisher.discard()

    async def _wait_for_room(self) -> None:
        while self._disk_space.is_full and not self.should_stop:
            await self.sleep(STANDBY_SECONDS)

    async def _finish_what_is_stored(self, connection: database.Connection, *, among_last: int) -> None:
        """Publish what an earlier relay stored, before anything new gets a position."""
        while not self.should_stop:
            events = await outbox.stored_before(connection, among_last=among_last, at_most=PAST_EVENTS_AT_ONCE)
            if not events or not await self._publish(connection, events):
                return
            await outbox.delete(connection, [event.seq for event in events])

    async def _relay(self, connection: database.Connection) -> None:
        published: list[int] = []
        while not self.should_stop:
            partitions = await self._partitions(connection)
            if not partitions:
                return
            if RELAY_STORING.armed:
                await RELAY_STORING.passed()
            if self._disk_space.is_full:
                await self._wait_for_room()
                continue
            events = await outbox.store_next(connection, published, at_most=self._batch_events, partitions=partitions)
            published = []
            if not events:
                await self._wait_for_events(connection)
            elif await self._publish(connection, events):
                published = [event.seq for event in events]
                await asyncio.sleep(self._pause_seconds(len(events)))
        if published and not self._disk_space.is_full:
            await outbox.delete(connection, published)

    def _pause_seconds(self, events: int) -> float:
        """After a round, let events gather for the next: what a round costs, here and in all that follows, it costs
        once. An event that comes after a pause waits for nobody; there is none where more wait already."""
        if events >= self._batch_events:
            return 0
        more = max(events - FEW_EVENTS, 0)
        return min(PAUSE_SECONDS + more * PAUSE_SECONDS_AN_EVENT_MORE, MOST_PAUSE_SECONDS)

    async def _partitions(self, connection: database.Connection, *, before: int | None = None) -> int:
        """How many partitions the topic has, once it is there and has all that is stored (before a position); 0 when
        the worker stops first."""
        waits = backoff_seconds(most=MOST_WAIT_SECONDS)
        while not self.should_stop:
            try:
                if not self._publisher.is_connected:
                    await self._publisher.connect()
                    await refill(connection, self._publisher, before=before)
            except* UNPUBLISHED as errors:
                await self._kafka_is_away(connection, errors.exceptions[0], next(waits))
            else:
                return self._publisher.partitions
        return 0

    async def _wait_for_events(self, connection: database.Connection) -> None:
        """Until there may be some, or the watchdog looks; then see that the topic is as it was left, too."""
        if await self._wake_up.wait(self._watchdog_seconds):
            return
        try:
            await self._publisher.check()
        except UNPUBLISHED as error:
            await self._kafka_is_away(connection, error, 0)

    async def _publish(self, connection: database.Connection, events: Sequence[StoredEvent]) -> bool:
        """Publish until the broker has it all; False when the worker stops first."""
        if RELAY_STORED.armed:
            await RELAY_STORED.passed()
        waits = backoff_seconds(most=MOST_WAIT_SECONDS)
        while await self._partitions(connection, before=events[0].position):
            try:
                await self._publisher.publish(events)
            except* UNPUBLISHED as errors:
                await self._kafka_is_away(connection, errors.exceptions[0], next(waits))
            else:
                self.rounds += 1
                self.events += len(events)
                if RELAY_PUBLISHED.armed:
                    await RELAY_PUBLISHED.passed()
                return True
        return False

    async def _kafka_is_away(self, connection: database.Connection, error: BaseException, wait: float) -> None:
        self.publish_errors += 1
        self.throttled.warning("The relay waits for Kafka; events are accepted and wait in the outbox: %r", error)
        await self._publisher.discard()
        await connection.execute(database.HEARTBEAT)
        await self.sleep(wait)
