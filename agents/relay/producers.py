"""The producers of a publisher: idempotent, and plain for batches that the broker may refuse."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.kafka.access import KafkaAccess
from agents.kafka.stopping import stopped

REQUEST_TIMEOUT_MS = 10_000
# Below the broker's default limit of 1,048,588 bytes; a single event may be larger.
MAX_BATCH_BYTES = 900_000


class Producers:
    """After a refused batch, the idempotent producer's next batch of that partition would have a wrong sequence number.

    So the plain producer sends the rest of the round there, and the idempotent one is replaced before the next round.
    """

    def __init__(self, kafka: KafkaAccess, max_message_bytes: int | None) -> None:
        """`max_message_bytes` is the topic's limit for a batch; None if it is unknown."""
        self._kafka = kafka
        self._max_message_bytes = max_message_bytes
        self._idempotent: AIOKafkaProducer | None = None
        self._plain: AIOKafkaProducer | None = None
        self._starting_plain = asyncio.Lock()
        self._refusing: set[int] = set()

    async def start(self) -> None:
        """Connect. Raises KafkaError or OSError if the broker is unavailable."""
        self._idempotent = self._new(idempotent=True)
        await self._idempotent.start()

    def create_batch(self) -> Any:
        """An empty batch for either producer."""
        assert self._idempotent is not None
        return self._idempotent.create_batch()

    def note_refused(self, producer: AIOKafkaProducer, partition: int) -> None:
        """Record that the broker refused a producer's batch of this partition."""
        if producer is self._idempotent:
            self._refusing.add(partition)

    async def renew_if_necessary(self) -> None:
        """Replace the idempotent producer after a refused batch. Raises the same errors as `start`."""
        if self._refusing:
            if self._idempotent is not None:
                await _discard(self._idempotent)
            await self.start()
            self._refusing.clear()

    async def producer_for(self, partition: int, batch: Any) -> AIOKafkaProducer:
        """The producer for a batch: the plain one if the broker may refuse it."""
        is_larger = self._max_message_bytes is not None and batch.size() > self._max_message_bytes
        if not is_larger and partition not in self._refusing:
            assert self._idempotent is not None
            return self._idempotent
        async with self._starting_plain:
            if self._plain is None:
                self._plain = self._new(idempotent=False)
                await self._plain.start()
        return self._plain

    async def discard(self) -> None:
        """Discard the producers and their unsent records. Errors of the broker are suppressed."""
        for producer in (self._idempotent, self._plain):
            if producer is not None:
                await _discard(producer)

    def _new(self, *, idempotent: bool) -> AIOKafkaProducer:
        limit = self._max_message_bytes or MAX_BATCH_BYTES
        return AIOKafkaProducer(
            enable_idempotence=idempotent,
            acks="all",
            max_batch_size=min(MAX_BATCH_BYTES, limit),
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **self._kafka.arguments(),
        )


async def _discard(producer: AIOKafkaProducer) -> None:
    # aiokafka has no public method that stops a producer without flushing it.
    if producer._sender.sender_task is not None:
        producer._sender.sender_task.cancel()
    # A graceful close would wait indefinitely for a frozen or unreachable broker to read.
    for connection in producer.client._conns.values():
        if connection._writer is not None:
            connection._writer.transport.abort()
    await stopped(producer.client.close())
    await stopped(producer.stop())
