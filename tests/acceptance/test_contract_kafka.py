"""The topic: what the contract says of its records, read by those who know nothing of Headrace."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cloudevents.core.bindings import kafka as binding
from cloudevents.core.bindings.kafka import KafkaMessage

from tests.support.clients.console_consumer import read_topic
from tests.support.clients.topic_reader import partitions_of, read_records
from tests.support.servers.fresh import new_topic
from tests.support.servers.system import System, envelope, running
from tests.support.waiting import until

SECONDS = 30.0
STATUS = "/api/v1/events/status"
SOURCE = "/tests/topic"
PLAIN = envelope(SOURCE, data={"n": 1, "text": "Grüße €"}, subject="dev/1 ü", time="2026-01-31T23:00:00.5+01:00")
BYTES = envelope(SOURCE, data_base64="AP/+Cg==", datacontenttype="application/octet-stream", subject="s")
KEYED = envelope(SOURCE, partitionkey="a key", subject="s", anextension=5)
BARE = envelope(SOURCE)
SENT = {event["id"]: event for event in (PLAIN, BYTES, KEYED, BARE)}

Records = dict[str, Any]


@pytest.fixture(scope="module")
def records(system: System) -> Records:
    """A record of each event that was sent, by its id."""

    async def send_and_read() -> list[Any]:
        for event in SENT.values():
            assert (await system.post(event)).status == 202
        return await read_records(system.bootstrap_servers, system.topic, len(SENT))

    found = asyncio.run(send_and_read())
    assert len(found) == len(SENT)
    return {json.loads(record.value)["id"]: record for record in found}


async def test_topic_events_with_8_partitions_where_we_create_it(tmp_path: Path, database_dsn: str, kafka: str) -> None:
    """Nothing is set: it is called `events`."""
    servers = kafka.removeprefix("kafka://")
    event = envelope(SOURCE, id=str(uuid.uuid4()))
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "SERVICES": "ingestion"}
    async with running(tmp_path, **settings) as worker:
        await System(worker, database_dsn, servers, "events").post(event)
        await read_records(servers, "events", 1, lambda record: json.loads(record.value)["id"] == event["id"])
        assert await partitions_of(servers, "events") == 8


async def test_topic_is_a_setting_and_so_is_what_it_is_made_with(tmp_path: Path, database_dsn: str, kafka: str) -> None:
    servers, topic = kafka.removeprefix("kafka://"), new_topic()
    settings = {"TOPIC": topic, "TOPIC_PARTITIONS": "3", "SERVICES": "ingestion"}
    async with running(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=kafka, **settings) as worker:
        await System(worker, database_dsn, servers, topic).post(envelope(SOURCE))
        assert len(await read_records(servers, topic, 1)) == 1
        assert await partitions_of(servers, topic) == 3


@pytest.mark.parametrize(
    ("event", "key"), [(KEYED, "a key"), (PLAIN, "dev/1 ü"), (BARE, SOURCE)], ids=["partitionkey", "subject", "source"]
)
async def test_key_is_the_partition_key(system: System, records: Records, event: dict[str, Any], key: str) -> None:
    """The extension partitionkey, else subject, else source; and the story of the event names the partition."""
    assert records[event["id"]].key.decode() == key
    stories: list[Any] = []

    async def is_told() -> bool:
        """A consumer may have a record before the relay has its acknowledgement."""
        stories.append((await system.door(f"{STATUS}?source={quote(SOURCE, safe='')}&id={event['id']}")).json)
        return stories[-1]["published"] is not None

    await until(is_told, SECONDS)
    assert stories[-1]["published"]["partition"] == records[event["id"]].partition


async def test_value_is_the_event_as_structured_json_with_a_header_that_says_so(records: Records) -> None:
    for event_id, sent in SENT.items():
        assert ("content-type", b"application/cloudevents+json") in records[event_id].headers
        value = json.loads(records[event_id].value)
        assert {name: value[name] for name in sent} == sent
        assert value.keys() - sent.keys() <= {"time", "sequence"}


async def test_sequence_is_the_position_zero_padded_to_20_digits(system: System, records: Records) -> None:
    positions = {item["event"]["id"]: item["position"] for item in await system.log(source=SOURCE)}
    for event_id in SENT:
        assert json.loads(records[event_id].value)["sequence"] == f"{positions[event_id]:020d}"


async def test_records_are_read_by_a_foreign_sdk(records: Records) -> None:
    for event_id, sent in SENT.items():
        record = records[event_id]
        read: Any = binding.from_structured_event(KafkaMessage(dict(record.headers), record.key, record.value))
        assert (read.get_id(), read.get_source(), read.get_type()) == (event_id, SOURCE, "tested")
        assert read.get_subject() == sent.get("subject")
        assert read.get_extension("sequence") == json.loads(record.value)["sequence"]
        assert read.get_data() == (b"\x00\xff\xfe\n" if sent is BYTES else sent.get("data"))
        assert read.get_time() is not None


def test_records_are_read_by_the_console_consumer_of_kafka(system: System, records: Records, tmp_path: Path) -> None:
    lines = read_topic(system.bootstrap_servers, system.topic, len(SENT), tmp_path)
    printed = {json.loads(line.value)["id"]: line for line in lines}
    assert printed.keys() == SENT.keys()
    for event_id, line in printed.items():
        assert "content-type:application/cloudevents+json" in line.headers.split(",")
        assert line.key == records[event_id].key.decode()
        assert line.value == records[event_id].value.decode()
