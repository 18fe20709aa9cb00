"""Publishes stored events to the topic: in order by partition, each round wholly or not at all as far as we know."""

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
# A round has longer, the more bytes it has.
SLOWEST_BYTES_A_SECOND = 500_000
CLOSE_TIMEOUT_SECONDS = 1.0
# Under the 1,048,588 bytes that a broker takes by default; one event alone may be larger than this.
MAX_BATCH_BYTES = 900_000


class TopicLostError(HeadraceError):
    """The topic does not have any more what it had acknowledged."""


class TopicTooSmallError(HeadraceError):
    """The topic has fewer partitions than when events were stored for it."""


class Publisher:
    """An idempotent producer that is thrown away after every error.

    After an error nobody knows what the broker has; the round is published again by a new producer, and the
    projectors drop what they have seen. A topic that was lost, or its end, is noticed at the next connect, when there
    is nothing to publish (`check`), and at the next acknowledgement.
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, partitions_if_new: int) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._partitions_if_new = partitions_if_new
        self._producer: AIOKafkaProducer | None = None
        self._topic_end: TopicEnd | None = None
        self._ends: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._all_is_lost = False
        self.partitions = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a producer; it may be found dead when it is used."""
        return self._producer is not None

    async def connect(self) -> None:
        """Connect, and make the topic if need be; then `partitions` tells how many it has.

        Raises KafkaError, OSError or TimeoutError when the broker is away.
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
        """The position of the last event in each partition of the topic; what comes after it is to be published.

        Raises like `connect`.
        """
        if self._all_is_lost:
            self._last = dict.fromkeys(range(self.partitions), 0)
        else:
            assert self._topic_end is not None
            self._last = await self._topic_end.last_positions(range(self.partitions))
        return dict(self._last)

    def note_refilled(self) -> None:
        """Note that everything that is stored has been published again."""
        self._all_is_lost = False

    async def check(self) -> None:
        """Look whether the topic still has what it has acknowledged. Raises like `publish`."""
        assert self._topic_end is not None
        ends = await self._topic_end.ends(range(self.partitions))
        if any(ends[partition] < end for partition, end in self._ends.items()):
            raise TopicLostError

    async def publish(self, events: Sequence[StoredEvent]) -> None:
        """Publish a round and return when every record is acknowledged.

        Raises KafkaError, OSError or TimeoutError when that is not certain, alone or in a group, and TopicLostError;
        the same round may be published again.
        """
        by_partition: dict[int, list[StoredEvent]] = defaultdict(list)
        for event in events:
            by_partition[event.partition].append(event)
        seconds = TIMEOUT_SECONDS + sum(len(event.text) for event in events) / SLOWEST_BYTES_A_SECOND
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
                # Acknowledged before the next one leaves: a hole in the middle would lose its events for good.
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
            self._all_is_lost = True  # the end of the topic does not tell it any more
            raise TopicLostError
        self._ends[partition] = max(self._ends[partition], offset + count)

    async def discard(self) -> None:
        """Throw the producer away, and what it has not sent: if it went on trying, what it holds would come to the
        topic at any time later."""
        producer, self._producer = self._producer, None
        topic_end, self._topic_end = self._topic_end, None
        if topic_end is not None:
            await _stop(topic_end.stop())
        if producer is not None:
            # There is no public way to stop it without waiting for what it holds.
            if producer._sender.sender_task is not None:
                producer._sender.sender_task.cancel()
            # A connection that is merely closed stays for as long as a broker that is frozen or cut off reads nothing.
            for connection in producer.client._conns.values():
                if connection._writer is not None:
                    connection._writer.transport.abort()
            await _stop(producer.client.close())
            await _stop(producer.stop())


async def _stop(stopping: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await stopping
