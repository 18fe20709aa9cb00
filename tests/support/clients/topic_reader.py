"""A plain consumer: the records of a topic as they lie there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer

WAIT_MILLISECONDS = 60_000


async def read_records(
    bootstrap_servers: str, topic: str, how_many: int, which: Callable[[Any], bool] = lambda _: True
) -> list[Any]:
    """So many of the records that are asked for, from the beginning of each partition, in order by partition."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    records: list[Any] = []
    try:
        while len(records) < how_many:
            found = await consumer.getmany(timeout_ms=WAIT_MILLISECONDS)
            assert found, f"only {len(records)} of them came"
            records += [record for part in found.values() for record in part if which(record)]
    finally:
        await consumer.stop()
    return records


async def partitions_of(bootstrap_servers: str, topic: str) -> int:
    """How many partitions a topic has."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        return len(consumer.partitions_for_topic(topic) or ())
    finally:
        await consumer.stop()
