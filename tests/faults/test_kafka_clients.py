"""The clients of Kafka, where they stand still without a word: a producer is given up, a worker ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agents.kafka.access import KafkaAccess
from agents.relay.publisher import Publisher
from tables.intake.outbox import StoredEvent

from tests.faults.planting import Edit, plant
from tests.support.servers.own_kafka import OwnKafka
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

PARTITIONS = 32
EVENT_BYTES = 850_000
"""With one event in each partition, more than all buffers between here and the broker hold."""
SENDING_SECONDS = 3.0
GIVEN_UP_SECONDS = 10.0
ENDED_SECONDS = 60.0
LOOKS = "    coordinator = consumer._coordinator\n"


@pytest.mark.usefixtures("kafka_proxy")
async def test_a_producer_is_given_up_although_its_broker_takes_no_more_bytes(own_kafka: OwnKafka, topic: str) -> None:
    if not own_kafka.processes:
        await own_kafka.start()
    publisher = Publisher(KafkaAccess(own_kafka.url.removeprefix("kafka://")), topic, partitions_if_new=PARTITIONS)
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


@pytest.mark.parametrize("task", ["_fetcher._fetch_task", "_coordinator._coordination_task"])
async def test_a_consumer_that_has_ended_by_itself_ends_its_worker(
    tmp_path: Path, database_dsn: str, kafka: str, topic: str, task: str
) -> None:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    worker = WorkerProcess(tmp_path, **settings)
    ends = Edit("agents/kafka/consumer_thread.py", LOOKS, f"{LOOKS}    consumer.{task}.cancel()\n")
    worker.source = plant(tmp_path / "source", [ends])
    worker.start()
    try:

        async def has_ended() -> bool:
            return worker.process.poll() is not None

        await until(has_ended, ENDED_SECONDS, lambda: worker.log.read_text()[-4000:])
        assert worker.process.returncode == 1
        said = worker.log.read_text()
        assert said.count("headrace: The Kafka consumer ended unexpectedly") == 1, said[-4000:]
    finally:
        worker.kill()
