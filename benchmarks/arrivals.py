"""When events come to a consumer of a topic."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer

from benchmarks.topic_records import Topic, record_of
from benchmarks.wrk import RoundFailedError

LAST_SECONDS = 30.0


class Arrivals:
    """When each event came, by its number."""

    def __init__(self, consumer: AIOKafkaConsumer, number_of: Callable[[str], int]) -> None:
        self._consumer = consumer
        self._number_of = number_of
        self._at: dict[int, float] = {}

    async def collect(self, numbers: range) -> None:
        """Return when all of these have come. Raises RoundFailedError when they do not."""
        missing = set(numbers)
        while missing:
            fetched = await self._consumer.getmany(timeout_ms=int(LAST_SECONDS * 1000))
            now = time.perf_counter()
            if not fetched:
                raise RoundFailedError(f"{len(missing)} records have not arrived within {LAST_SECONDS:.0f} s")
            for record in (one for records in fetched.values() for one in records):
                number = self._number_of(record_of(record)[1])
                self._at.setdefault(number, now)
                missing.discard(number)

    def seconds(self, due: Mapping[int, float]) -> list[float]:
        """How long each took since it was due."""
        return [self._at[number] - moment for number, moment in due.items()]


@asynccontextmanager
async def arrivals(topic: Topic, bootstrap_servers: str, number_of: Callable[[str], int]) -> AsyncIterator[Arrivals]:
    """A consumer that begins at the end of the topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        consumer.assign(topic.partitions)
        await consumer.seek_to_end()
        yield Arrivals(consumer, number_of)
    finally:
        await consumer.stop()
