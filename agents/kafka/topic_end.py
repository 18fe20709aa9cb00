"""The end of the topic: the end offset of each partition, and the position of the last event in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.kafka.access import KafkaAccess
from agents.kafka.stopping import consumer_stopped
from headrace.events.genuine_records import PassedOver, Reason, judge
from headrace.events.origin import Timeline
from headrace.events.topic_record import decode, is_late

# Foreign records may follow the last event of a partition; each further read covers more of them.
FIRST_READ_RECORDS = 4
READ_GROWTH = 16
POLL_MS = 500
SECONDS_PER_PARTITION = 0.05
# How soon partitions that were added to the topic are noticed.
METADATA_SECONDS = 60
MAX_READ_RECORDS = 5_000
"""Of a partition. Others may write much more to the topic than this installation."""
FORGOTTEN = 2**62
"""Beyond every position: whatever was published is still known to be published."""
UNSEEN = FORGOTTEN + 1
"""The last event is behind too many records of others."""

Offsets = dict[TopicPartition, int]


class Ahead(NamedTuple):
    """An event of this installation on the topic that the event store does not have."""

    partition: int
    position: int
    epoch: int


class TopicEnd:
    """Reads the ends of partitions, without a consumer group.

    Its methods raise KafkaError, OSError or TimeoutError if the broker is unavailable.
    """

    def __init__(self, kafka: KafkaAccess, topic: str, *, timeout_seconds: float) -> None:
        self._topic = topic
        self._timeout_seconds = timeout_seconds
        self._consumer = AIOKafkaConsumer(
            enable_auto_commit=False,
            request_timeout_ms=int(timeout_seconds * 1_000),
            metadata_max_age_ms=METADATA_SECONDS * 1_000,
            **kafka.arguments(),
        )
        self._timeline: Timeline | None = None
        self._ahead: dict[tuple[int, int], int] = {}

    async def start(self) -> None:
        """Connect to the broker, within the timeout."""
        async with asyncio.timeout(self._timeout_seconds):
            await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect, within a limited time; also safe after `start` has failed."""
        await consumer_stopped(self._consumer)

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset of the next record of each partition."""
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        async with asyncio.timeout(self._timeout_seconds):  # aiokafka waits indefinitely for a missing topic
            return {tp.partition: end for tp, end in (await self._consumer.end_offsets(tps)).items()}

    def partition_count(self) -> int:
        """The number of partitions as the client knows it, at most METADATA_SECONDS ago; 0 if it is unknown."""
        return len(self._consumer.partitions_for_topic(self._topic) or ())

    async def last_positions(self, partitions: Iterable[int], timeline: Timeline | None = None) -> dict[int, int]:
        """The position of the last event of each partition; 0 for a partition that never had any.

        FORGOTTEN if retention has removed what was there: nothing is lost then. UNSEEN if others have written too much
        after it. Without a timeline, whoever wrote the event. Sets `ahead`.
        """
        self._timeline, self._ahead = timeline, {}
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        self._consumer.assign(tps)
        try:
            async with asyncio.timeout(self._timeout_seconds + SECONDS_PER_PARTITION * len(tps)):
                begins = await self._consumer.beginning_offsets(tps)
                ends = await self._consumer.end_offsets(tps)
                found = await self._read_ends(begins, ends)
                return {tp.partition: found.get(tp, _without_events(begins[tp], ends[tp])) for tp in tps}
        finally:
            self._consumer.unsubscribe()

    @property
    def ahead(self) -> list[Ahead]:
        """By partition and epoch, the last event found by `last_positions` that the event store does not have."""
        return [Ahead(partition, position, epoch) for (partition, epoch), position in sorted(self._ahead.items())]

    async def _read_ends(self, begins: Offsets, ends: Offsets) -> Offsets:
        """The greatest position of each partition that has an event, read from the end, all partitions together."""
        found: Offsets = {}
        before = {tp: end for tp, end in ends.items() if begins[tp] < end}
        records = FIRST_READ_RECORDS
        while before and records <= MAX_READ_RECORDS * READ_GROWTH:
            starts = {tp: max(begins[tp], ends[tp] - min(records, MAX_READ_RECORDS)) for tp in before}
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
                    position = self._position(tp.partition, record) if record.offset < before[tp] else 0
                    if position:
                        found[tp] = max(found.get(tp, 0), position)
                        if not is_late(record.headers):
                            done.add(tp)
            reached = {tp for tp in left if await self._consumer.position(tp) >= before[tp]}
            self._consumer.pause(*reached)
            left -= reached
        return done

    def _position(self, partition: int, record: Any) -> int:
        """The position of a record that is an event of this database, else 0."""
        timeline = self._timeline
        if timeline is None:
            event = decode(record.value, partition)
            return event.position if event else 0
        found = judge(timeline, partition, record.value, record.headers)
        if not isinstance(found, PassedOver):
            position = found[0].position
            if position <= timeline.last_position:
                return position
            self._note_ahead(partition, position, timeline.epoch)
        elif found.reason is Reason.ABANDONED:
            self._note_abandoned(partition, found)
        elif found.reason is Reason.UNSIGNED and found.position <= min(timeline.unsigned_end, timeline.last_position):
            return found.position
        return 0

    def _note_abandoned(self, partition: int, found: PassedOver) -> None:
        if found.origin is not None:
            self._note_ahead(partition, found.position, found.origin.epoch)

    def _note_ahead(self, partition: int, position: int, epoch: int) -> None:
        place = partition, epoch
        self._ahead[place] = max(self._ahead.get(place, 0), position)


def _without_events(begin: int, end: int) -> int:
    """What is known of a partition in which no event was found."""
    if end - begin > MAX_READ_RECORDS:
        return UNSEEN
    return FORGOTTEN if begin else 0
