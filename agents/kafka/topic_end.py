"""How far the topic has come: where its partitions end, and the position of the last event in each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from headrace.events.topic_record import decode

# At the end of a partition there may be records of others; then it is looked further back.
FIRST_LOOK_RECORDS = 4
LOOK_FURTHER = 16
POLL_MS = 500


class TopicEnd:
    """Reads, without a consumer group. Raises KafkaError, OSError or TimeoutError when the broker is away."""

    def __init__(self, bootstrap_servers: str, topic: str, *, timeout_seconds: float) -> None:
        self._topic = topic
        self._timeout_seconds = timeout_seconds
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            enable_auto_commit=False,
            request_timeout_ms=int(timeout_seconds * 1_000),
        )

    async def start(self) -> None:
        """Connect."""
        async with asyncio.timeout(self._timeout_seconds):
            await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect; safe where `start` failed."""
        await self._consumer.stop()

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset of the next record of each partition."""
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        async with asyncio.timeout(self._timeout_seconds):  # it would wait for a topic that is not there
            return {tp.partition: end for tp, end in (await self._consumer.end_offsets(asked)).items()}

    async def last_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """The position of the last event of each partition; 0 where it has none."""
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        self._consumer.assign(asked)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                begins = await self._consumer.beginning_offsets(asked)
                ends = await self._consumer.end_offsets(asked)
                return {tp.partition: await self._last_position(tp, begins[tp], ends[tp]) for tp in asked}
        finally:
            self._consumer.unsubscribe()

    async def _last_position(self, tp: TopicPartition, begin: int, end: int) -> int:
        records = FIRST_LOOK_RECORDS
        before = end
        while before > begin:
            start = max(begin, end - records)
            found = await self._greatest_position(tp, start, before)
            if found:
                return found
            before = start
            records *= LOOK_FURTHER
        return 0

    async def _greatest_position(self, tp: TopicPartition, start: int, before: int) -> int:
        """The greatest position between two offsets; a round that was published again repeats itself."""
        greatest = 0
        self._consumer.seek(tp, start)
        while await self._consumer.position(tp) < before:
            for record in (await self._consumer.getmany(tp, timeout_ms=POLL_MS)).get(tp, []):
                event = decode(record.value, tp.partition) if record.offset < before else None
                if event is not None:
                    greatest = max(greatest, event.position)
        return greatest
