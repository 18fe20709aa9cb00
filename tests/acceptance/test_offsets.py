"""What the event handler tells Kafka: that it is done with every partition of what it fetched."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from tables.database import Pool

from tests.checking.evidence import read_topic
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

EVENTS = 400
IN_STORE = "SELECT count(*) FROM event_store"
IN_OUTBOX = "SELECT count(*) FROM outbox"


async def committed(bootstrap: str, group: str) -> dict[int, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {tp.partition: found.offset for tp, found in (await admin.list_consumer_group_offsets(group)).items()}
    finally:
        await admin.close()


async def test_the_offsets_of_all_partitions_of_a_fetch_are_committed(
    tmp_path: Path, database_dsn: str, kafka: str, topic: str, pool: Pool
) -> None:
    worker = WorkerProcess(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=kafka, TOPIC=topic, CONSUMER_GROUP=topic)
    worker.start()
    try:
        await worker.ready()
        batch = [
            {
                "specversion": "1.0",
                "id": str(n),
                "source": "/t",
                "type": "device.retired",
                "subject": f"d{n}",
                "data": {},
            }
            for n in range(EVENTS)
        ]
        async with aiohttp.ClientSession() as session:
            for start in range(0, EVENTS, 40):
                async with session.post(f"{worker.ingestion}/api/v1/events", json=batch[start : start + 40]) as answer:
                    assert answer.status == 202

        async def published() -> bool:
            return bool(await pool.fetchval(IN_STORE) == EVENTS and await pool.fetchval(IN_OUTBOX) == 0)

        await until(published, 60)
        bootstrap = kafka.removeprefix("kafka://")
        ends = {record.partition: record.offset + 1 for record in await read_topic(bootstrap, topic)}
        assert len(ends) > 1

        async def all_committed() -> bool:
            try:
                return await committed(bootstrap, topic) == ends
            except GroupCoordinatorNotAvailableError:
                return False  # as long as the broker is making its own topic for the offsets

        await until(all_committed, 60)
    finally:
        assert worker.stop() == 0
