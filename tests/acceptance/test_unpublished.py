"""An event that Kafka refuses: stored, projected, listed, and published by command when the topic allows it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.support.clients.topic_reader import read_records
from tests.support.servers.command_line import command
from tests.support.servers.fresh import free_port
from tests.support.servers.system import STRUCTURED, WAIT, System, envelope, running

SOURCE = "/tests/unpublished"
WAIT_FOR_IT = {**STRUCTURED, **WAIT}
LIMIT = "max.message.bytes"


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.removeprefix("kafka://"))
    await client.start()
    yield client
    await client.close()


def printed(settings: Mapping[str, str], *arguments: str) -> tuple[int, Any]:
    """Run a command with --json; its exit code and what it printed."""
    environment = {**os.environ, **settings, "INGESTION_PORT": str(free_port())}
    done = command(*arguments, "--json", settings=environment, seconds=120)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_an_event_that_kafka_refuses_is_projected_listed_and_published_later(
    tmp_path: Path, settings: dict[str, str], admin: AIOKafkaAdminClient
) -> None:
    topic, servers = settings["TOPIC"], settings["BROKER_URL"].removeprefix("kafka://")
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={LIMIT: "20000"})])
    async with running(tmp_path, **settings) as worker:
        system = System(worker, settings["DATABASE_URL"], servers, topic)
        large = envelope(SOURCE, id="large", subject="s", data="x" * 50_000)
        # No later event follows: projections find it by themselves.
        assert (await system.post(large, WAIT_FOR_IT)).status == 201
        story = await system.door(f"/api/v1/events/status?source={SOURCE}&id=large")
        assert story.json["published"] is None
        for number in range(3):
            small = envelope(SOURCE, id=str(number), subject="s")
            assert (await system.post(small, WAIT_FOR_IT)).status == 201

        code, listed = printed(settings, "unpublished", "list")
        assert (code, [(one["id"], one["position"]) for one in listed["items"]]) == (0, [("large", 1)])
        assert "headrace_unpublished_events 1.0" in (await system.get("/metrics")).body.decode()
        code, report = printed(settings, "verify")
        assert (code, report["differences"]) == (0, [])
        code, outcome = printed(settings, "unpublished", "retry")
        assert (code, outcome["published"], len(outcome["refused"])) == (1, 0, 1)

        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {LIMIT: "1000000"})])
        assert printed(settings, "unpublished", "retry") == (0, {"published": 1, "refused": []})
        assert printed(settings, "unpublished", "list")[1]["items"] == []
        logged = (await system.get("/api/v1/access-log?action=unpublished.retried")).json["items"]
        assert [one["detail"] for one in logged] == [{"published": 1, "refused": 0}, {"published": 0, "refused": 1}]
        records = await read_records(servers, topic, 4)
        assert [int(json.loads(record.value)["sequence"]) for record in records] == [2, 3, 4, 1]
        small = envelope(SOURCE, id="after", subject="s")
        assert (await system.post(small, WAIT_FOR_IT)).status == 201
        code, report = printed(settings, "verify")
        assert (code, report["differences"]) == (0, [])
