"""Publishes stored events to the topic, in order within each partition; a round counts only if fully acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.kafka.topic import ensure_topic
from agents.kafka.topic_end import TopicEnd
from headrace.errors import HeadraceError
from headrace.events import topic_record
from headrace.process.fault_points import PUBLISHER_PUBLISHING
from tables.intake.outbox import StoredEvent

REQUEST_TIMEOUT_MS = 10_000
TIMEOUT_SECONDS = 10.0
# The timeout of a round grows with its bytes, at this rate.
MIN_BYTES_PER_SECOND = 500_000
CLOSE_TIMEOUT_SECONDS = 1.0
# Below the broker's default limit of 1,048,588 bytes; a single event may be larger.
MAX_BATCH_BYTES = 900_000


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

    def __init__(self, bootstrap_servers: str, topic: str, *, partitions_if_new: int) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._partitions_if_new = partitions_if_new
        self._producer: AIOKafkaProducer | None = None
        self._topic_end: TopicEnd | None = None
        self._ends: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._is_topic_lost = False
        self.partitions = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a producer; its connection may be dead."""
        return self._producer is not None

    async def connect(self) -> None:
        """Connect, create the topic if necessary, and set `partitions` to its number of partitions.

        Raises KafkaError, OSError or TimeoutError if the broker is unavailable.
        """
        async with asyncio.timeout(TIMEOUT_SECONDS):
            self.partitions = await ensure_topic(
                self._bootstrap_servers, self._topic, partitions=self._partitions_if_new
            )
            self._topic_end = TopicEnd(self._bootstrap_servers, self._topic, timeout_seconds=TIMEOUT_SECONDS)
            await self._topic_end.start()
            self._ends = await self._topic_end.ends(range(self.partitions))
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                enable_idempotence=True,
                acks="all",
                max_batch_size=MAX_BATCH_BYTES,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
            self._producer = producer
            await producer.start()

    async def last_positions(self) -> dict[int, int]:
        """The position of the last event in each partition of the topic; later events are not published yet.

        All are 0 after the topic was lost. Raises the same errors as `connect`.
        """
        if self._is_topic_lost:
            self._last = dict.fromkeys(range(self.partitions), 0)
        else:
            assert self._topic_end is not None
            self._last = await self._topic_end.last_positions(range(self.partitions))
        return dict(self._last)

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

    async def publish(self, events: Sequence[StoredEvent]) -> None:
        """Publish a round and return when every record is acknowledged.

        Raises TopicLostError, or KafkaError, OSError or TimeoutError if the outcome is unknown, also in an exception
        group. The same round may be published again.
        """
        by_partition: dict[int, list[StoredEvent]] = defaultdict(list)
        for event in events:
            by_partition[event.partition].append(event)
        seconds = TIMEOUT_SECONDS + sum(len(event.text) for event in events) / MIN_BYTES_PER_SECOND
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as sends:
            for partition, chosen in by_partition.items():
                sends.create_task(self._publish_to(partition, chosen))

    async def _publish_to(self, partition: int, events: Sequence[StoredEvent]) -> None:
        assert self._producer is not None
        batch = self._producer.create_batch()
        headers = topic_record.headers(events[0].position, self._last.get(partition))
        for event in events:
            key, value = event.partition_key.encode(), topic_record.encode(event.text, event.position)
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                # Wait for the acknowledgement before the next batch: a lost batch in the middle would never be resent.
                await self._send(partition, batch)
                batch = self._producer.create_batch()
                headers = topic_record.headers(event.position, self._last.get(partition))
                batch.append(timestamp=None, key=key, value=value, headers=headers)
            self._last[partition] = event.position
            headers = topic_record.HEADERS
        await self._send(partition, batch)

    async def _send(self, partition: int, batch: Any) -> None:
        assert self._producer is not None
        count = batch.record_count()
        sent = await self._producer.send_batch(batch, self._topic, partition=partition)
        if PUBLISHER_PUBLISHING.armed:
            await PUBLISHER_PUBLISHING.passed()
        offset = (await sent).offset
        if 0 <= offset < self._ends[partition]:
            self._is_topic_lost = True  # the end of the topic no longer shows the loss
            raise TopicLostError
        self._ends[partition] = max(self._ends[partition], offset + count)

    async def discard(self) -> None:
        """Discard the producer and its unsent records, which later retries could publish out of order.

        Errors of the broker are suppressed.
        """
        producer, self._producer = self._producer, None
        topic_end, self._topic_end = self._topic_end, None
        if topic_end is not None:
            await _stop(topic_end.stop())
        if producer is not None:
            # aiokafka has no public method that stops a producer without flushing it.
            if producer._sender.sender_task is not None:
                producer._sender.sender_task.cancel()
            # A graceful close would wait indefinitely for a frozen or unreachable broker to read.
            for connection in producer.client._conns.values():
                if connection._writer is not None:
                    connection._writer.transport.abort()
            await _stop(producer.client.close())
            await _stop(producer.stop())


async def _stop(stopping: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await stopping
