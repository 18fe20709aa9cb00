"""The clients of Kafka, where they stand still without a word."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.publisher import Publisher
from tables.outbox import StoredEvent

from own_kafka import OwnKafka

PARTITIONS = 32
EVENT_BYTES = 850_000
"""With one event in each partition, more than all buffers between here and the broker hold."""
SENDING_SECONDS = 3.0
GIVEN_UP_SECONDS = 10.0


@pytest.mark.usefixtures("kafka_proxy")
async def test_a_producer_is_given_up_although_its_broker_takes_no_more_bytes(own_kafka: OwnKafka, topic: str) -> None:
    if not own_kafka.processes:
        await own_kafka.start()
    publisher = Publisher(own_kafka.url.removeprefix("kafka://"), topic, partitions_if_new=PARTITIONS)
    await publisher.connect()
    text = json.dumps({"id": "1", "source": "/tests", "type": "t", "data": "x" * EVENT_BYTES})
    events = [StoredEvent(number, number, number, "key", text) for number in range(PARTITIONS)]
    own_kafka.freeze()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SENDING_SECONDS):
                await publisher.publish(events)
        async with asyncio.timeout(GIVEN_UP_SECONDS):
            await publisher.discard()
    finally:
        own_kafka.thaw()
    assert not publisher.is_connected
