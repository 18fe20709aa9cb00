"""What is on a topic: how many records, and whether they are the right ones in the right order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.kafka.access import KafkaAccess
from agents.kafka.topic import ensure_topic

from benchmarks.wrk import RoundFailedError

# As many as our topics have by default.
PARTITIONS = 8
POLL_SECONDS = 0.02
STUCK_SECONDS = 120.0
FETCH_MS = 1_000


class _Envelope(msgspec.Struct):
    id: str


_decoder = msgspec.json.Decoder(_Envelope)

Record = tuple[bytes, str]
"""A record's key, and the id of the event that is its value."""


def record_of(record: Any) -> Record:
    """From a record of a consumer."""
    return record.key, _decoder.decode(record.value).id


class Topic:
    """A topic, read from its beginning without a consumer group."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        self._consumer = consumer
        self.partitions = partitions

    async def count(self) -> int:
        """How many records it has: nothing in our topics is deleted or transactional."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self.partitions)
        return sum(ends.values())

    async def until(self, records: int, check_alive: Callable[[], None]) -> tuple[float, int]:
        """Return when it has so many: the moment, and how many it has then. Raises RoundFailedError when none come."""
        last, moved = -1, time.perf_counter()
        while (now := await self.count()) < records:
            check_alive()
            if now > last:
                last, moved = now, time.perf_counter()
            elif time.perf_counter() - moved > STUCK_SECONDS:
                raise RoundFailedError(f"{now} of {records} records after {STUCK_SECONDS:.0f} s without more")
            await asyncio.sleep(POLL_SECONDS)
        return time.perf_counter(), now

    async def records(self) -> list[Record]:
        """All of them; in the order of each partition."""
        return [record_of(record) for record in await self._all()]

    async def values(self) -> list[str]:
        """The values of all of them; in the order of each partition."""
        return [record.value.decode() for record in await self._all()]

    async def _all(self) -> list[Any]:
        found: list[Any] = []
        expected = await self.count()
        self._consumer.assign(self.partitions)
        await self._consumer.seek_to_beginning()
        while len(found) < expected:
            fetched = await self._consumer.getmany(timeout_ms=FETCH_MS)
            if not fetched:
                raise RoundFailedError(f"{len(found)} of {expected} records can be read")
            for records in fetched.values():
                found += records
        return found


@asynccontextmanager
async def open_topic(bootstrap_servers: str, topic: str) -> AsyncIterator[Topic]:
    """The topic; made if it is not there."""
    count = await ensure_topic(KafkaAccess(bootstrap_servers), topic, partitions=PARTITIONS)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(count)]
        opened = Topic(consumer, partitions)
        await opened.count()  # answers only when every partition of a new topic has a leader
        yield opened
    finally:
        await consumer.stop()


def check_records(records: Iterable[Record], *, number_of: Callable[[str], int], numbers: range) -> None:
    """Raises RoundFailedError unless each event of `numbers` is there once, and those of a key are in order."""
    seen: set[int] = set()
    last: dict[bytes, int] = {}
    for key, event_id in records:
        number = number_of(event_id)
        if number in seen:
            raise RoundFailedError(f"event {number} is on the topic twice")
        if number < last.get(key, -1):
            raise RoundFailedError(f"event {number} comes after event {last[key]} of the same key")
        seen.add(number)
        last[key] = number
    if seen != set(numbers):
        raise RoundFailedError(f"{len(seen)} of {len(numbers)} events are on the topic, or others")
