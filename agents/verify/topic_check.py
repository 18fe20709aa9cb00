"""Reads the whole topic and compares it with the event store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.kafka.access import KafkaAccess
from agents.kafka.stopping import consumer_stopped
from agents.kafka.topic import find_topic
from agents.verify.findings import Findings, Say
from agents.verify.lost_tail import LostTail
from headrace.errors import DependencyAwayError
from headrace.events.genuine_records import PassedOver, Reason, judge
from headrace.events.origin import Timeline
from headrace.events.topic_record import Record, decode
from tables.history.snapshot import Snapshot
from tables.unstorable import UNSTORABLE

RECORDS_AT_ONCE = 2_000
POLL_MS = 1_000
SILENCE_SECONDS = 30.0
PROGRESS_SECONDS = 5.0


class VerifiedTopic:
    """Which events up to a position are on the topic; uses one bit of memory for each."""

    def __init__(self, snapshot: Snapshot, timeline: Timeline, findings: Findings, say: Say, *, tail: LostTail) -> None:
        self._snapshot = snapshot
        self._timeline = timeline
        self._last_position = last_position = timeline.last_position
        self._tail = tail
        self._findings = findings
        self._say = say
        self._seen = bytearray(last_position // 8 + 1)
        self._first_positions: dict[int, int] = {}
        self._greatest: dict[int, int] = {}
        self._truncated: set[int] = set()
        self._refused: dict[int, bool] = {}
        self._is_compacted = False

    def has(self, position: int) -> bool:
        """Whether the event at this position is on the topic."""
        return position <= self._last_position and bool(self._seen[position // 8] & 1 << position % 8)

    def may_have_expired(self, position: int, partition: int) -> bool:
        """Whether retention or compaction may have removed the event from its partition."""
        return self._is_compacted or (
            partition in self._truncated and position < self._first_positions.get(partition, self._last_position + 1)
        )

    def was_refused(self, position: int) -> bool:
        """Whether the broker refused the event, and it was not published later."""
        return self._refused.get(position) is False

    async def read(self, kafka: KafkaAccess, topic: str) -> None:
        """Read the topic from its beginning to its current end, which is newer than the snapshot.

        Raises KafkaError, OSError, TimeoutError or DependencyAwayError.
        """
        async with asyncio.timeout(SILENCE_SECONDS):
            found = await find_topic(kafka, topic)
        self._refused = await self._snapshot.unpublished()
        self._is_compacted = found.is_compacted
        if not found.partitions:
            return
        consumer = AIOKafkaConsumer(enable_auto_commit=False, **kafka.arguments())
        try:
            tps = [TopicPartition(topic, partition) for partition in range(found.partitions)]
            async with asyncio.timeout(SILENCE_SECONDS):
                await consumer.start()
                consumer.assign(tps)
                begins = await consumer.beginning_offsets(tps)
                ends = await consumer.end_offsets(tps)
            self._truncated = {tp.partition for tp, offset in begins.items() if offset > 0}
            for tp, offset in begins.items():
                consumer.seek(tp, offset)
            await self._read_until(consumer, ends)
        finally:
            await consumer_stopped(consumer)

    async def _read_until(self, consumer: Any, ends: dict[TopicPartition, int]) -> None:
        left = {tp for tp, end in ends.items() if await consumer.position(tp) < end}
        last_fetch = last_report = time.monotonic()
        while left:
            fetched = await consumer.getmany(*left, timeout_ms=POLL_MS, max_records=RECORDS_AT_ONCE)
            for tp, records in fetched.items():
                await self._compare(tp.partition, [record for record in records if record.offset < ends[tp]])
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
            now = time.monotonic()
            last_fetch = now if fetched else last_fetch
            if now - last_fetch > SILENCE_SECONDS:
                raise DependencyAwayError(f"Kafka sent nothing for {SILENCE_SECONDS:.0f} s. Check BROKER_URL.")
            if now - last_report > PROGRESS_SECONDS:
                last_report = now
                self._say(f"topic: {self._findings.looked_at.get('records of the topic', 0)} records")

    async def _compare(self, partition: int, records: Sequence[Any]) -> None:
        self._findings.count("records of the topic", len(records))
        events: list[Record] = []
        values: list[str] = []
        for record in records:
            where = f"the record at offset {record.offset} of partition {partition}"
            event = self._event(record, partition, where)
            if event is not None:
                if (record.key or b"") != event.partition_key.encode():
                    self._findings.differ("topic_differs", f"{where} has the key {record.key!r}")
                self._check_order(event, where)
                events.append(event)
                values.append(record.value.decode(errors="replace"))
        await self._compare_with_store(partition, events, values)

    def _event(self, record: Any, partition: int, where: str) -> Record | None:
        """The event to compare with the store; None if there is none, which is noted."""
        found = judge(self._timeline, partition, record.value, record.headers)
        if isinstance(found, PassedOver) and found.reason is not Reason.UNSIGNED:
            self._note(found, record, partition, where)
            return None
        event = decode(record.value, partition) if isinstance(found, PassedOver) else found[0]
        if event is not None and event.position > self._last_position:
            self._tail.add(event, None if isinstance(found, PassedOver) else self._timeline.epoch)
            return None
        return event

    def _note(self, found: PassedOver, record: Any, partition: int, where: str) -> None:
        if found.reason is Reason.FOREIGN:
            self._findings.count("records of other installations, which are passed over")
        elif found.reason is Reason.FORGED:
            self._findings.differ("topic_forged", f"{where} names this installation, but its signature is wrong")
        elif found.reason is Reason.ABANDONED and found.origin is not None:
            event = decode(record.value, partition)
            if event is not None:
                self._tail.add(event, found.origin.epoch)
        else:
            self._findings.differ("topic_phantom", f"{where} is not an event")

    def _check_order(self, event: Record, where: str) -> None:
        """Check that an event that appears for the first time is later than all before it in its partition."""
        if self.has(event.position):
            return
        if event.position in self._refused:  # published after later events
            self._seen[event.position // 8] |= 1 << event.position % 8
            return
        begin = self._first_positions.setdefault(event.partition, event.position)
        greatest = self._greatest.get(event.partition, 0)
        if event.position < greatest and not (event.partition in self._truncated and event.position < begin):
            self._findings.differ(
                "topic_out_of_order",
                f"{where}: the event at position {event.position} follows the event at position {greatest}",
            )
        self._greatest[event.partition] = max(greatest, event.position)
        self._seen[event.position // 8] |= 1 << event.position % 8

    async def _compare_with_store(self, partition: int, events: Sequence[Record], values: Sequence[str]) -> None:
        if not events:
            return
        try:
            found = await self._snapshot.same([event.position for event in events], values)
        except UNSTORABLE:
            if len(events) == 1:
                self._findings.differ("topic_differs", f"{_place(events[0])}: jsonb cannot store the record")
                return
            half = len(events) // 2
            await self._compare_with_store(partition, events[:half], values[:half])
            await self._compare_with_store(partition, events[half:], values[half:])
            return
        for index, (event, value) in enumerate(zip(events, values, strict=True)):
            if index not in found:
                self._findings.differ(
                    "topic_phantom", f"{_place(event)}: the event store has no such position: {value}"
                )
                continue
            stored_in, same = found[index]
            if stored_in != partition:
                self._findings.differ(
                    "topic_partition", f"{_place(event)}: the event store has it in partition {stored_in}"
                )
            if not same:
                self._findings.differ(
                    "topic_differs", f"{_place(event)}: the event store has different content than: {value}"
                )


def _place(event: Record) -> str:
    return f"position {event.position} in partition {event.partition} of the topic"
