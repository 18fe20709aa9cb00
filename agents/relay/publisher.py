"""Publishes stored events to the topic, in order within each partition; a round counts only if fully acknowledged."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import BrokerResponseError

from agents.kafka.access import KafkaAccess
from agents.kafka.topic import MAX_EVENT_BYTES, MAX_MESSAGE_BYTES, FoundTopic, ensured_topic
from agents.kafka.topic_end import Ahead, TopicEnd
from agents.relay.producers import Producers
from agents.relay.refusals import REFUSALS, text_of
from headrace.errors import HeadraceError
from headrace.events import topic_record
from headrace.events.origin import ORIGIN, Timeline, sign
from headrace.process.fault_points import PUBLISHER_PUBLISHING
from tables.intake.outbox import StoredEvent
from tables.intake.unpublished import Refused

TIMEOUT_SECONDS = 10.0
# The timeout of a round grows with its bytes, at this rate.
MIN_BYTES_PER_SECOND = 500_000


class TopicLostError(HeadraceError):
    """The topic has lost records that it had acknowledged."""


class TopicTooSmallError(HeadraceError):
    """The topic has fewer partitions than the event store has events for."""


class Publisher:
    """An idempotent producer that is discarded after every error.

    After an error it is unknown which records the broker has. A new producer publishes the round again, and projectors
    skip duplicates. Loss of the topic or of its end is detected on the next connect, by `check` when there is nothing
    to publish, and on the next acknowledgement.
    """

    def __init__(
        self, kafka: KafkaAccess, topic: str, *, partitions_if_new: int, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        self.max_event_bytes = max_event_bytes
        self.found = FoundTopic(0, {})
        """The topic, as it was at the last connect."""
        self.timeline: Timeline | None = None
        """Of the epoch in which this publishes; without it, records have no origin."""
        self._kafka = kafka
        self._topic = topic
        self._partitions_if_new = partitions_if_new
        self._producers: Producers | None = None
        self._topic_end: TopicEnd | None = None
        self._ends: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._is_topic_lost = False

    @property
    def partitions(self) -> int:
        """The number of partitions of the topic; 0 before the first connect."""
        return self.found.partitions

    @property
    def is_connected(self) -> bool:
        """Whether there is a producer; its connection may be dead."""
        return self._producers is not None

    @property
    def has_new_partitions(self) -> bool:
        """Whether partitions were added to the topic since the last connect."""
        return self._topic_end is not None and self._topic_end.partition_count() > self.partitions

    async def connect(self) -> None:
        """Connect, create the topic if necessary, and set `partitions` to its number of partitions.

        Raises KafkaError, OSError or TimeoutError if the broker is unavailable.
        """
        async with asyncio.timeout(TIMEOUT_SECONDS):
            self.found = await ensured_topic(
                self._kafka,
                self._topic,
                partitions=self._partitions_if_new,
                max_event_bytes=self.max_event_bytes,
            )
            self._topic_end = TopicEnd(self._kafka, self._topic, timeout_seconds=TIMEOUT_SECONDS)
            await self._topic_end.start()
            self._ends = await self._topic_end.ends(range(self.partitions))
            limit = self.found.number(MAX_MESSAGE_BYTES)
            self._producers = Producers(self._kafka, limit)
            await self._producers.start()

    async def last_positions(self) -> dict[int, int]:
        """The position of the last event in each partition of the topic; later events are not published yet.

        All are 0 after the topic was lost, and UNSEEN where only records of others were found. Raises the same errors
        as `connect`.
        """
        if self._is_topic_lost:
            self._last = dict.fromkeys(range(self.partitions), 0)
        else:
            assert self._topic_end is not None
            self._last = await self._topic_end.last_positions(range(self.partitions), self.timeline)
        return dict(self._last)

    @property
    def ahead(self) -> list[Ahead]:
        """Events of this installation that the topic has and the event store lacks, as `last_positions` found them."""
        return self._topic_end.ahead if self._topic_end is not None and not self._is_topic_lost else []

    def leave_out(self, partition: int, position: int) -> None:
        """Record that the topic will not have this event: the next record makes projectors read it from the store."""
        self._last[partition] = position

    def note_refilled(self) -> None:
        """Record that all stored events are on the topic again."""
        self._is_topic_lost = False

    async def check(self) -> None:
        """Check that the topic still has all acknowledged records. Raises the same errors as `publish`."""
        assert self._topic_end is not None
        ends = await self._topic_end.ends(range(self.partitions))
        if any(ends[partition] < end for partition, end in self._ends.items()):
            raise TopicLostError

    async def publish(self, events: Sequence[StoredEvent]) -> list[Refused]:
        """Publish a round and return when every record is acknowledged; return the events that the broker refuses.

        Raises TopicLostError, or KafkaError, OSError or TimeoutError if the outcome is unknown, also in an exception
        group. The same round may be published again.
        """
        assert self._producers is not None
        by_partition: dict[int, list[StoredEvent]] = defaultdict(list)
        for event in events:
            by_partition[event.partition].append(event)
        seconds = TIMEOUT_SECONDS + sum(len(event.text) for event in events) / MIN_BYTES_PER_SECOND
        refused: list[Refused] = []
        async with asyncio.timeout(seconds):
            await self._producers.renew_if_necessary()
            async with asyncio.TaskGroup() as sends:
                for partition, chosen in by_partition.items():
                    sends.create_task(self._publish_to(partition, chosen, refused))
        return refused

    async def _publish_to(self, partition: int, events: Sequence[StoredEvent], refused: list[Refused]) -> None:
        """Publish the events of a partition. A refused batch is halved, down to the record that is refused."""
        assert self._producers is not None
        start, at_most, count = 0, len(events), len(events)
        while start < count:
            batch, stop = self._batch(partition, events, start, min(start + at_most, count))
            try:
                # Wait for the acknowledgement before the next batch: a lost batch in the middle would never be resent.
                await self._send(partition, batch)
            except REFUSALS as error:
                if stop - start > 1:
                    at_most = (stop - start) // 2
                    continue
                refused.append(_refused(events[start], batch, error))
            self._last[partition] = events[stop - 1].position
            start, at_most = stop, at_most * 2

    def _batch(self, partition: int, events: Sequence[StoredEvent], start: int, stop: int) -> tuple[Any, int]:
        """A batch of events from `start`, at most up to `stop`, and the index of the first event after it."""
        assert self._producers is not None
        batch, timeline = self._producers.create_batch(), self.timeline
        follows = self._last.get(partition)
        headers = topic_record.headers(events[start].position, follows)
        if follows is not None and follows >= events[start].position:
            follows = None
        for index in range(start, stop):
            event = events[index]
            key, value = event.partition_key.encode(), topic_record.encode(event.text, event.position)
            if timeline is not None:
                signed = sign(timeline.installation, timeline.epoch, partition, follows, value)
                headers = [*headers, (ORIGIN, signed)]
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                return batch, index
            headers, follows = topic_record.HEADERS, event.position
        return batch, stop

    async def _send(self, partition: int, batch: Any) -> None:
        assert self._producers is not None
        count = batch.record_count()
        producer = await self._producers.producer_for(partition, batch)
        sent = await producer.send_batch(batch, self._topic, partition=partition)
        if PUBLISHER_PUBLISHING.armed:
            await PUBLISHER_PUBLISHING.passed()
        try:
            offset = (await sent).offset
        except REFUSALS:
            self._producers.note_refused(producer, partition)
            raise
        if 0 <= offset < self._ends[partition]:
            self._is_topic_lost = True  # the end of the topic no longer shows the loss
            raise TopicLostError
        self._ends[partition] = max(self._ends[partition], offset + count)

    async def discard(self) -> None:
        """Discard the producer and its unsent records, which later retries could publish out of order.

        Errors of the broker are suppressed.
        """
        producers, self._producers = self._producers, None
        topic_end, self._topic_end = self._topic_end, None
        if topic_end is not None:
            await topic_end.stop()
        if producers is not None:
            await producers.discard()


def _refused(event: StoredEvent, batch: Any, error: BrokerResponseError) -> Refused:
    return Refused(event.position, event.partition, text_of(error), batch.size())
