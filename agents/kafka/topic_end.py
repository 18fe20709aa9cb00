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
SECONDS_PER_PARTITION = 0.05
# How soon partitions that were added to the topic are noticed.
METADATA_SECONDS = 60
FORGOTTEN = 2**62
"""Beyond every position: whatever was published is still known to be published."""

Offsets = dict[TopicPartition, int]


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
            metadata_max_age_ms=METADATA_SECONDS * 1_000,
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

    def partition_count(self) -> int:
        """The number of partitions as the client knows it, at most METADATA_SECONDS ago; 0 if it is unknown."""
        return len(self._consumer.partitions_for_topic(self._topic) or ())

    async def last_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """The position of the last event of each partition; 0 for a partition that never had any.

        FORGOTTEN if retention has removed what was there: nothing is lost then.
        """
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        self._consumer.assign(tps)
        try:
            async with asyncio.timeout(self._timeout_seconds + SECONDS_PER_PARTITION * len(tps)):
                begins = await self._consumer.beginning_offsets(tps)
                ends = await self._consumer.end_offsets(tps)
                found = await self._read_ends(begins, ends)
                return {tp.partition: found.get(tp, FORGOTTEN if begins[tp] else 0) for tp in tps}
        finally:
            self._consumer.unsubscribe()

    async def _read_ends(self, begins: Offsets, ends: Offsets) -> Offsets:
        """The greatest position of each partition that has an event, read from the end, all partitions together."""
        found: Offsets = {}
        before = {tp: end for tp, end in ends.items() if begins[tp] < end}
        records = FIRST_READ_RECORDS
        while before:
            starts = {tp: max(begins[tp], ends[tp] - records) for tp in before}
            done = await self._read_between(starts, before, found)
            before = {tp: start for tp, start in starts.items() if tp not in done and start > begins[tp]}
            records *= READ_GROWTH
        return found

    async def _read_between(self, starts: Offsets, before: Offsets, found: Offsets) -> set[TopicPartition]:
        """Read each partition between two offsets; return those in which no earlier record has a greater position.

        The greatest position is not always the last, because a round may be published twice, and late records follow
        later events.
        """
        done: set[TopicPartition] = set()
        self._consumer.pause(*self._consumer.assignment())
        self._consumer.resume(*starts)
        for tp, start in starts.items():
            self._consumer.seek(tp, start)
        left = set(starts)
        while left:
            for tp, records in (await self._consumer.getmany(*left, timeout_ms=POLL_MS)).items():
                for record in records:
                    event = decode(record.value, tp.partition) if record.offset < before[tp] else None
                    if event is not None:
                        found[tp] = max(found.get(tp, 0), event.position)
                        if not is_late(record.headers):
                            done.add(tp)
            reached = {tp for tp in left if await self._consumer.position(tp) >= before[tp]}
            self._consumer.pause(*reached)
            left -= reached
        return done
