"""The end of the topic: the end offset of each partition, and the position of the last event in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from headrace.events.topic_record import decode, is_late

# Foreign records may follow the last event of a partition; each further read covers more of them.
FIRST_READ_RECORDS = 4
READ_GROWTH = 16
POLL_MS = 500


class TopicEnd:
    """Reads the ends of partitions, without a consumer group.

    Its methods raise KafkaError, OSError or TimeoutError if the broker is unavailable.
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, timeout_seconds: float) -> None:
        self._topic = topic
        self._timeout_seconds = timeout_seconds
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            enable_auto_commit=False,
            request_timeout_ms=int(timeout_seconds * 1_000),
        )

    async def start(self) -> None:
        """Connect to the broker, within the timeout."""
        async with asyncio.timeout(self._timeout_seconds):
            await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect; also safe after `start` has failed."""
        await self._consumer.stop()

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset of the next record of each partition."""
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        async with asyncio.timeout(self._timeout_seconds):  # aiokafka waits indefinitely for a missing topic
            return {tp.partition: end for tp, end in (await self._consumer.end_offsets(tps)).items()}

    async def last_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """The position of the last event of each partition; 0 for a partition without events."""
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        self._consumer.assign(tps)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                begins = await self._consumer.beginning_offsets(tps)
                ends = await self._consumer.end_offsets(tps)
                return {tp.partition: await self._last_position(tp, begins[tp], ends[tp]) for tp in tps}
        finally:
            self._consumer.unsubscribe()

    async def _last_position(self, tp: TopicPartition, begin: int, end: int) -> int:
        records, greatest = FIRST_READ_RECORDS, 0
        before = end
        while before > begin:
            start = max(begin, end - records)
            found, is_last = await self._greatest_position(tp, start, before)
            greatest = max(greatest, found)
            if is_last:
                return greatest
            before = start
            records *= READ_GROWTH
        return greatest

    async def _greatest_position(self, tp: TopicPartition, start: int, before: int) -> tuple[int, bool]:
        """The greatest position between two offsets, and whether no earlier record has a greater one.

        It is not always the last, because a round may be published twice, and late records follow later events.
        """
        greatest, is_last = 0, False
        self._consumer.seek(tp, start)
        while await self._consumer.position(tp) < before:
            for record in (await self._consumer.getmany(tp, timeout_ms=POLL_MS)).get(tp, []):
                event = decode(record.value, tp.partition) if record.offset < before else None
                if event is not None:
                    greatest = max(greatest, event.position)
                    is_last = is_last or not is_late(record.headers)
        return greatest, is_last
