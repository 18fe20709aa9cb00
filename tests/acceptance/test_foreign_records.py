"""Records of others on the topic: a worker passes over them, and starts again with them on the topic."""

from __future__ import annotations

import json
from pathlib import Path

from headrace.events.topic_record import FOLLOWS

from tests.support.clients import foreign_producer
from tests.support.servers.system import STRUCTURED, WAIT, System, envelope, running

SOURCE = "/tests/foreign"


def record(**members: str) -> bytes:
    event = envelope(SOURCE, time="2026-11-22T08:00:00Z", subject="s", sequence=f"{10**6:020d}")
    return json.dumps(event | members).encode()


async def test_a_worker_passes_over_records_that_are_not_its_own(
    tmp_path: Path, database_dsn: str, kafka: str, topic: str
) -> None:
    servers = kafka.removeprefix("kafka://")
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    for start in range(2):
        async with running(tmp_path, TOPIC_PARTITIONS="1", **settings) as worker:
            system = System(worker, database_dsn, servers, topic)
            assert (await system.post(envelope(SOURCE, subject="s"), {**STRUCTURED, **WAIT})).status == 201
            await foreign_producer.write(
                servers,
                topic,
                [
                    (b"{}", [(FOLLOWS, None)]),
                    (b"{}", [(FOLLOWS, b"9" * 5_000)]),
                    (None, [("", None)]),
                    (record(sequence="9" * 20), []),
                    (record(subject="a\0b"), []),
                    (b"[" * 100_000, []),
                ],
            )
            if start == 0:
                await foreign_producer.write_header_that_is_no_utf8(servers, topic)
            assert (await system.post(envelope(SOURCE, subject="s"), {**STRUCTURED, **WAIT})).status == 201
