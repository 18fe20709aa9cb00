"""Records of the topic, read by those who know nothing of Headrace: a CloudEvents SDK and a plain consumer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer
from cloudevents.core.bindings import kafka as binding
from cloudevents.core.bindings.kafka import KafkaMessage

from worker_process import WorkerProcess

SECONDS = 30_000
EVENTS: dict[str, dict[str, Any]] = {
    "plain": {"data": {"n": 21.5, "text": "Grüße €"}, "subject": "dev/1 ü", "time": "2026-01-31T23:00:00.5+01:00"},
    "bytes": {"data_base64": "AP/+Cg==", "datacontenttype": "application/octet-stream", "subject": "s"},
    "keyed": {"partitionkey": "a key", "subject": "s", "anextension": 5},
    "bare": {},
}
KEYS = {"plain": "dev/1 ü", "bytes": "s", "keyed": "a key", "bare": "/tests"}


@pytest.fixture
async def worker(tmp_path: Path, database_dsn: str, kafka: str, topic: str) -> AsyncIterator[WorkerProcess]:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "SERVICES": "ingestion"}
    started = WorkerProcess(tmp_path, **settings)
    started.start()
    try:
        await started.ready()
        yield started
    finally:
        assert started.stop() == 0


async def records_of(kafka: str, topic: str, how_many: int) -> list[Any]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka.removeprefix("kafka://"), auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    records: list[Any] = []
    try:
        while len(records) < how_many:
            found = await consumer.getmany(timeout_ms=SECONDS)
            assert found, f"only {len(records)} records came"
            records += [record for part in found.values() for record in part]
    finally:
        await consumer.stop()
    return records


async def test_kafka_records_are_read_by_a_foreign_sdk_and_by_a_plain_consumer(
    worker: WorkerProcess, kafka: str, topic: str
) -> None:
    sent = {
        event_id: {"specversion": "1.0", "id": event_id, "source": "/tests", "type": "tested", **members}
        for event_id, members in EVENTS.items()
    }
    async with aiohttp.ClientSession(worker.ingestion) as session:
        for event in sent.values():
            async with session.post("/api/v1/events", json=event) as response:
                assert response.status == 202
    records = await records_of(kafka, topic, len(sent))
    assert len(records) == len(sent)
    sequences: dict[str, str] = {}
    for record in records:
        assert ("content-type", b"application/cloudevents+json") in record.headers
        plain = json.loads(record.value)
        event_id = plain["id"]
        sequences[event_id] = plain["sequence"]
        assert {name: plain.get(name) for name in sent[event_id]} == sent[event_id]
        assert record.key.decode() == KEYS[event_id]
        read: Any = binding.from_structured_event(KafkaMessage(dict(record.headers), record.key, record.value))
        assert (read.get_id(), read.get_source(), read.get_type()) == (event_id, "/tests", "tested")
        assert read.get_subject() == sent[event_id].get("subject")
        assert read.get_extension("sequence") == plain["sequence"]
        data = read.get_data()
        assert data == (b"\x00\xff\xfe\n" if event_id == "bytes" else sent[event_id].get("data"))
        assert read.get_time() is not None
    assert sequences == {event_id: f"{position:020}" for position, event_id in enumerate(sent, start=1)}
