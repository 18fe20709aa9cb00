"""Publishes stored events to the topic: in order by partition, each round wholly or not at all as far as we know."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import msgspec
from aiokafka import AIOKafkaProducer

from agents.topic import ensure_topic
from app.fault_points import PUBLISHER_PUBLISHING
from tables.outbox import StoredEvent

HEADERS = [("content-type", b"application/cloudevents+json")]
REQUEST_TIMEOUT_MS = 10_000
ROUND_TIMEOUT_SECONDS = 30.0
CLOSE_TIMEOUT_SECONDS = 5.0
# Under the 1,048,588 bytes that a broker takes by default; one event alone may be larger than this.
MAX_BATCH_BYTES = 900_000


class Publisher:
    """An idempotent producer that is thrown away after every error.

    After an error nobody knows what the broker has; the round is published again by a new producer, and the
    projectors drop what they have seen.
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, partitions_if_new: int) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._partitions_if_new = partitions_if_new
        self._partitions = 0
        self._producer: AIOKafkaProducer | None = None

    async def connect(self) -> int:
        """Connect if need be, make the topic if need be, and return how many partitions it has.

        Raises KafkaError, OSError or TimeoutError when the broker is away.
        """
        if self._producer is not None:
            return self._partitions
        async with asyncio.timeout(ROUND_TIMEOUT_SECONDS):
            self._partitions = await ensure_topic(
                self._bootstrap_servers, self._topic, partitions=self._partitions_if_new
            )
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                enable_idempotence=True,
                acks="all",
                max_batch_size=MAX_BATCH_BYTES,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
            self._producer = producer
            await producer.start()
            return self._partitions

    async def publish(self, events: Sequence[StoredEvent]) -> None:
        """Publish a round and return when every record is acknowledged.

        Raises KafkaError, OSError or TimeoutError when that is not certain; the same round may be published again.
        """
        await self.connect()
        by_partition: dict[int, list[StoredEvent]] = defaultdict(list)
        for event in events:
            by_partition[event.partition].append(event)
        async with asyncio.timeout(ROUND_TIMEOUT_SECONDS), asyncio.TaskGroup() as sends:
            for partition, chosen in by_partition.items():
                sends.create_task(self._publish_to(partition, chosen))

    async def _publish_to(self, partition: int, events: Sequence[StoredEvent]) -> None:
        assert self._producer is not None
        batch = self._producer.create_batch()
        for event in events:
            key, value = event.partition_key.encode(), record_value(event)
            if batch.append(timestamp=None, key=key, value=value, headers=HEADERS) is None:
                # Acknowledged before the next one leaves: a hole in the middle would lose its events for good.
                await (await self._producer.send_batch(batch, self._topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=key, value=value, headers=HEADERS)
        sent = await self._producer.send_batch(batch, self._topic, partition=partition)
        if PUBLISHER_PUBLISHING.armed:
            await PUBLISHER_PUBLISHING.passed()
        await sent

    async def discard(self) -> None:
        """Throw the producer away; the next call connects anew."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await producer.stop()
        except TimeoutError:
            # It waits for a broker that is away; its connections end with it.
            await producer.client.close()


def record_value(event: StoredEvent) -> bytes:
    """The accepted text with the extension `sequence`, which is the position, zero-padded to 20 digits."""
    text = event.text
    if '"sequence"' in text:
        text = _without_sequence(text)
    return f'{text[:-1]},"sequence":"{event.position:020d}"}}'.encode()


def _without_sequence(text: str) -> str:
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    members.pop("sequence", None)
    return msgspec.json.encode(members).decode()
