"""Topics as operators have them, while events are published: emptied, compacted, grown, compressed by others."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.checking.evidence import read_topic
from tests.faults.planting import Edit, plant
from tests.faults.test_records import strange_values
from tests.faults.trial import Trial

PARTITIONS = 8
MORE_PARTITIONS = 16
ROUNDS = 6
CODECS = ("gzip", "lz4", "snappy", "zstd")
RESUMED_SECONDS = 15.0
TO_THE_END = -1
# A minute is too long for a test.
SOON = (Edit("agents/kafka/topic_end.py", "METADATA_SECONDS = 60\n", "METADATA_SECONDS = 1\n"),)
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "500",
    "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "1000",
}
HOLES = 500


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.removeprefix("kafka://"))
    await client.start()
    yield client
    await client.close()


async def empty(trial: Trial, admin: AIOKafkaAdminClient) -> None:
    """What retention does: remove all that is there."""
    ends = RecordsToDelete(TO_THE_END)
    tps = {TopicPartition(trial.topic, partition): ends for partition in range(PARTITIONS)}
    answer: Any = await admin.delete_records(tps)
    for tp, begin in answer.items():
        trial.removed[tp.partition] = begin


@pytest.mark.slow_faults
async def test_retention_empties_partitions(trial: Trial, admin: AIOKafkaAdminClient) -> None:
    """retention removes every record of the topic, again and again, also while no worker runs"""
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    for _ in range(ROUNDS):
        await trial.accepted(100)
        await trial.note_under_way()
        await empty(trial, admin)
    await trial.resumed("the last removal", within=RESUMED_SECONDS)
    for _ in range(2):
        worker.kill()
        await empty(trial, admin)
        worker.start()
        await worker.ready()
        await trial.resumed("removal and start", within=RESUMED_SECONDS)
    trial.bit(partitions_emptied=(ROUNDS + 2) * PARTITIONS)
    assert trial.said("The topic lacked") == 0, trial.logs()
    await trial.verdict()


@pytest.mark.slow_faults
async def test_compaction_leaves_holes(trial: Trial, admin: AIOKafkaAdminClient) -> None:
    """the topic is compacted while an event handler is frozen, so that it finds holes where it continues"""
    await admin.create_topics([NewTopic(trial.topic, PARTITIONS, 1, topic_configs=COMPACTED)])
    trial.is_compacted = True
    door = await trial.start("ingestion,query")
    handler = await trial.start("event_handler")
    trial.read(door)
    await trial.load(door)
    handler.freeze()
    before = await trial.ask("SELECT coalesce(min(position), 0) FROM progress")

    async def there_are_holes() -> bool:
        await trial.note_under_way()
        stored = await trial.ask("SELECT count(*) FROM event_store")
        records = await read_topic(trial.kafka, trial.topic)
        return stored > before + 1_000 and len(records) + HOLES < stored

    await trial.until(there_are_holes)
    records = len(await read_topic(trial.kafka, trial.topic))
    stored = await trial.ask("SELECT count(*) FROM event_store")
    handler.thaw()
    await trial.resumed("waking", within=RESUMED_SECONDS * 2)
    trial.bit(records_compacted=stored - records)
    await trial.verdict()


async def test_partitions_are_added(trial: Trial, admin: AIOKafkaAdminClient, tmp_path: Path) -> None:
    """the topic gets eight more partitions while events are published"""
    worker = trial.worker()
    worker.source = plant(tmp_path / "source", SOON)
    worker.start()
    await worker.ready()
    trial.read(worker)
    await trial.load(worker)
    await trial.note_under_way()
    await admin.create_partitions({trial.topic: NewPartitions(MORE_PARTITIONS)})

    async def all_are_used() -> bool:
        return await trial.ask("SELECT count(*) FROM topic_partitions") == MORE_PARTITIONS

    await trial.until(all_are_used)
    await trial.resumed("the new partitions are used", within=RESUMED_SECONDS)
    trial.bit(partitions_added=MORE_PARTITIONS - PARTITIONS)
    await trial.verdict()


async def write(trial: Trial, chance: random.Random, **options: Any) -> int:
    """Records of a stranger, compressed or in transactions; how many."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=trial.kafka.removeprefix("kafka://"), linger_ms=20, **options)
    await producer.start()
    sent = []
    try:
        is_transaction = "transactional_id" in options
        if is_transaction:
            await producer.begin_transaction()
        for number in range(1, 9):
            for value in strange_values(chance, number):
                if value is not None and len(value) < 100_000:
                    trial.foreign.add(value)
                    partition = chance.randrange(PARTITIONS)
                    sent.append(await producer.send(trial.topic, value, key=b"device-1", partition=partition))
        for one in sent:
            await one
        if is_transaction:
            await (producer.commit_transaction() if chance.random() < 0.5 else producer.abort_transaction())
    finally:
        await producer.stop()
    return len(sent)


async def test_others_write_compressed_records(trial: Trial, admin: AIOKafkaAdminClient, chance: random.Random) -> None:
    """others write to the topic with gzip, lz4, snappy and zstd, and in transactions, which are committed or aborted"""
    log_append_time = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(trial.topic, PARTITIONS, 1, topic_configs=log_append_time)])
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    written = 0
    for codec in CODECS:
        written += await write(trial, chance, compression_type=codec)
        written += await write(trial, chance, transactional_id=f"{trial.topic}-{codec}", compression_type=codec)
        await trial.note_under_way()
        await trial.accepted(50)
    await trial.resumed("the last of them", within=RESUMED_SECONDS)
    worker.kill()  # the next relay reads the end of the topic
    worker.start()
    await worker.ready()
    await trial.resumed("kill and start", within=RESUMED_SECONDS)
    trial.bit(records=written)
    assert trial.said("The topic lacked") == 0, trial.logs()
    await trial.verdict()
