"""Outbox -> event store -> topic -> delete.

Guarantee: each event of the outbox gets its position once, in the order of `seq`, in a transaction that commits before
the event is published. It leaves the outbox only after it is stored and acknowledged by the broker. In a partition of
the topic, no event first appears before an earlier event.

Exactly one relay of an installation is active. It holds an advisory lock and writes on the connection that holds it,
so a relay that has lost the lock cannot write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
from aiokafka.errors import BrokerResponseError, KafkaError

from agents.background import Background
from agents.kafka.refused_access import AccessRefusedError, with_advice
from agents.relay import topic_settings
from agents.relay.abandoned_events import report_ahead
from agents.relay.paced_publishing import PacedPublisher, heartbeat
from agents.relay.publisher import Publisher, TopicLostError, TopicTooSmallError
from agents.relay.topic_refill import refill
from headrace.process.action_log import ActionLog, in_words
from headrace.process.fault_points import RELAY_PUBLISHED, RELAY_STORED, RELAY_STORING
from headrace.process.log_actions import LogAction
from headrace.process.parts import OK, STANDBY, Condition, Headway
from headrace.process.waiting import WakeUp, backoff_seconds
from tables import database
from tables.adaptive_size import AdaptiveSize
from tables.database import TIMED_OUT, Database
from tables.history import epochs
from tables.intake import outbox
from tables.intake.disk_space import DiskSpace
from tables.intake.outbox import StoredEvent
from tables.lock_keys import LockKey
from tables.refusals import explained

STANDBY_SECONDS = 0.5
# PostgreSQL ends a session that was idle for this long, which releases the lock. A frozen process would hold the lock
# indefinitely, because its kernel still answers keepalives.
IDLE_TIMEOUT_SECONDS = 20.0
IDLE_TIMEOUT_WATCHDOGS = 3
PAST_EVENTS_AT_ONCE = 200
ALL_POSITIONS = 2**62
# Longer than any statement should need: a round waits at most for the locks of other writers.
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.004
# A round with more events means some 2,000 events a second or more, where throughput matters more than latency.
FEW_EVENTS = 20
PAUSE_SECONDS_PER_EXTRA_EVENT = 0.001
MAX_PAUSE_SECONDS = 0.05

# Errors of the publisher after which it is unknown whether the broker has the round.
UNPUBLISHED = (KafkaError, OSError, TimeoutError, TopicLostError, TopicTooSmallError)
MAX_WAIT_SECONDS = 2.0

log = ActionLog(__name__)


class Relay(Background):
    """The relay of one worker: active, or on standby for the lock."""

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
        self.rounds = self.events = self.set_aside = self.publish_errors = self.topics_ahead = 0
        """Counters since the start of the worker, for metrics."""
        self._disk_space = disk_space or DiskSpace()
        self._source = source
        self._publisher = publisher
        self._paced = PacedPublisher(publisher)
        self._wake_up = wake_up
        self._round = AdaptiveSize(batch_events)
        self._watchdog_seconds = watchdog_seconds
        self._within_last = outbox.MAX_ROUND_EVENTS
        self._headway = Headway(Condition("starting", "waits for PostgreSQL"))
        self.condition = self._headway.condition
        """Whether the relay publishes, or stands by for another."""

    def wake(self) -> None:
        self._wake_up.set()

    async def on_stop(self) -> None:
        await super().on_stop()
        await self._publisher.discard()

    async def run(self) -> None:
        """Wait for the lock, then relay until its connection is lost or the worker stops."""
        await self._wait_for_space()
        connection = await database.connect(
            self._source.dsn,
            timeout_seconds=TIMEOUT_SECONDS,
            idle_seconds=max(IDLE_TIMEOUT_SECONDS, self._watchdog_seconds * IDLE_TIMEOUT_WATCHDOGS),
        )
        try:
            while not await outbox.try_lock(connection, LockKey.RELAY):
                self._headway.note(STANDBY)
                await self.sleep(STANDBY_SECONDS)
                if self.should_stop:
                    return
            self.is_active = True
            self._headway.note(Condition("starting", "connects to Kafka"))
            log.info(LogAction.RELAY_ACTIVE, "This worker's relay is active.")
            # Nothing may be stored before: the database may have stepped back since another epoch was open.
            self._publisher.timeline = await epochs.open_next(connection)
            await self._publish_stored(connection, within_last=self._within_last)
            self._within_last = outbox.MAX_ROUND_EVENTS
            await self._relay(connection)
        except asyncpg.UniqueViolationError:
            # The outbox has an event that was stored long ago, so the next run searches all positions.
            self._within_last = ALL_POSITIONS
            text = "The outbox holds an event that is already stored; publishing it again"
            self.throttled.warning(LogAction.RELAY_DUPLICATE, text)
        except TIMED_OUT:
            self._round.note_time_out(self._round.events)
            raise
        except asyncpg.DiskFullError as error:
            self._disk_space.note_error(error)
            raise
        finally:
            self.is_active = False
            self._headway.note(Condition("waiting", "connects to PostgreSQL again"))
            database.drop(connection)
            # Another relay may publish before this relay publishes again.
            await self._publisher.discard()

    def log_unavailable(self, error: Exception) -> None:
        self._headway.note(Condition("waiting", explained(error)))
        super().log_unavailable(error)

    async def _wait_for_space(self) -> None:
        while self._disk_space.is_full and not self.should_stop:
            await self.sleep(STANDBY_SECONDS)

    async def _publish_stored(self, connection: database.Connection, *, within_last: int) -> None:
        """Publish events that an earlier relay stored, before new events get positions."""
        while not self.should_stop:
            events = await outbox.stored_before(connection, within_last=within_last, at_most=PAST_EVENTS_AT_ONCE)
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
                await self._wait_for_space()
                continue
            events = await outbox.store_next(connection, published, partitions=partitions, **self._limits())
            published = []
            self._round.note_done()
            self._headway.note(OK)
            if not events:
                await self._wait_for_events(connection)
            elif await self._publish(connection, events):
                published = [event.seq for event in events]
                await asyncio.sleep(self._pause_seconds(len(events)))
        if published and not self._disk_space.is_full:
            await outbox.delete(connection, published)

    def _limits(self) -> dict[str, int]:
        return {"at_most": self._round.events, "at_most_bytes": self._paced.piece_bytes}

    def _pause_seconds(self, events: int) -> float:
        """How long to let events accumulate after a round, because each round has a fixed cost downstream.

        0 if more events are waiting already. An event that arrives after the pause is not delayed.
        """
        if events >= self._round.events:
            return 0
        more = max(events - FEW_EVENTS, 0)
        return min(PAUSE_SECONDS + more * PAUSE_SECONDS_PER_EXTRA_EVENT, MAX_PAUSE_SECONDS)

    async def _partitions(self, connection: database.Connection, *, before: int | None = None) -> int:
        """Connect and refill the topic (up to a position) if necessary, and return its number of partitions.

        Retries while Kafka is unavailable; returns 0 if the worker stops first.
        """
        waits = backoff_seconds(most=MAX_WAIT_SECONDS)
        while not self.should_stop:
            try:
                if self._publisher.has_new_partitions:
                    await self._publisher.discard()
                if not self._publisher.is_connected:
                    async with heartbeat(connection):
                        await self._publisher.connect()
                    topic_settings.warn(self._publisher.found, self._publisher.max_event_bytes, self.throttled)
                    await refill(connection, self._paced, before=before)
                    self.topics_ahead += await report_ahead(connection, self._publisher)
            except* UNPUBLISHED as errors:
                await self._back_off_from_kafka(connection, errors.exceptions[0], next(waits))
            else:
                return self._publisher.partitions
        return 0

    async def _wait_for_events(self, connection: database.Connection) -> None:
        """Wait for a wake-up or for the watchdog's interval, after which the topic is checked for losses."""
        if await self._wake_up.wait(self._watchdog_seconds):
            return
        try:
            await self._publisher.check()
        except UNPUBLISHED as error:
            await self._back_off_from_kafka(connection, error, 0)

    async def _publish(self, connection: database.Connection, events: Sequence[StoredEvent]) -> bool:
        """Retry until the broker has acknowledged or refused each event; return False if the worker stops first."""
        if RELAY_STORED.armed:
            await RELAY_STORED.passed()
        waits, left = backoff_seconds(most=MAX_WAIT_SECONDS), events
        while left:
            if not await self._partitions(connection, before=left[0].position):
                return False
            try:
                piece = await self._paced.publish_next(connection, left)
            except* UNPUBLISHED as errors:
                await self._back_off_from_kafka(connection, errors.exceptions[0], next(waits))
            else:
                left = left[piece.done :]
                self.events += piece.done - len(piece.refused)
                self.set_aside += len(piece.refused)
        self.rounds += 1
        if RELAY_PUBLISHED.armed:
            await RELAY_PUBLISHED.passed()
        return True

    async def _back_off_from_kafka(self, connection: database.Connection, error: BaseException, wait: float) -> None:
        self.publish_errors += 1
        self._headway.note(_condition_of(error))
        if isinstance(error, TopicTooSmallError):
            self.throttled.warning(LogAction.TOPIC_TOO_SMALL, "The relay waits for partitions: {error}", error=error)
        else:
            text = "The relay waits for Kafka; accepted events stay in the outbox: {error}"
            self.throttled.warning(LogAction.KAFKA_UNAVAILABLE, text, service="ingestion", error=with_advice(error))
        await self._publisher.discard()
        await connection.execute(database.HEARTBEAT)
        await self.sleep(wait)


def _condition_of(error: BaseException) -> Condition:
    """What an error of the publisher means: Kafka is away, or refuses, which may not pass by itself."""
    if isinstance(error, TopicTooSmallError):
        return Condition("failing", in_words(error))
    is_refusal = isinstance(error, TopicLostError | AccessRefusedError) or (
        isinstance(error, BrokerResponseError) and not error.retriable
    )
    return Condition("waiting" if is_refusal else "away", in_words(error))
