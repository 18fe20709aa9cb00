"""Trouble in the consumer group does not end the worker, nor does it last longer than what makes it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from agents.kafka.access import KafkaAccess
from agents.kafka.topic import ensure_topic
from tables.database import Pool

from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

SECONDS = 60.0
REFUSED = "InconsistentGroupProtocolError"
APPLIED = "SELECT count(*) FROM projections WHERE projection = 'event_types'"


async def post(worker: WorkerProcess, number: int) -> None:
    event = {"specversion": "1.0", "id": str(number), "source": "/tests", "type": f"type-{number}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{worker.ingestion}/api/v1/events", json=event) as answer,
    ):
        assert answer.status == 202


@asynccontextmanager
async def stranger(kafka: str, topic: str) -> AsyncIterator[None]:
    """Somebody in the worker's group who shares partitions in another way: Kafka refuses who wants ours."""
    bootstrap = kafka.removeprefix("kafka://")

    async def joined() -> bool:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=topic, partition_assignment_strategy=[RangePartitionAssignor]
        )
        try:
            await consumer.start()
        except KafkaError:
            await consumer.stop()
            return False
        joining.append(consumer)
        return True

    joining: list[AIOKafkaConsumer] = []
    await ensure_topic(KafkaAccess(bootstrap), topic, partitions=8)
    await until(joined, SECONDS, "the stranger does not get into the group")
    try:
        yield
    finally:
        await joining[0].stop()


async def group_is(kafka: str, group: str, state: str) -> None:
    """Return when the broker says so of the group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.removeprefix("kafka://"))
    await admin.start()

    async def is_so() -> bool:
        try:
            (answer,) = await admin.describe_consumer_groups([group])
        except KafkaError:  # the broker's first group makes it create its topic of offsets
            return False
        return f"state='{state}'" in str(answer)

    try:
        await until(is_so, SECONDS, f"the group does not become {state}")
    finally:
        await admin.close()


@pytest.fixture
def worker(tmp_path: Path, database_dsn: str, kafka: str, topic: str) -> WorkerProcess:
    return WorkerProcess(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=kafka, TOPIC=topic, CONSUMER_GROUP=topic)


async def refused(worker: WorkerProcess) -> None:
    """Return when Kafka does not let it into the group."""

    async def is_refused() -> bool:
        return REFUSED in worker.log.read_text()

    await until(is_refused, SECONDS, "it is not refused")
    assert worker.process.poll() is None, worker.log.read_text()[-4000:]


async def applied(worker: WorkerProcess, pool: Pool, events: int) -> None:
    """Return when so many events are applied."""

    async def are_applied() -> bool:
        assert worker.process.poll() is None, worker.log.read_text()[-4000:]
        return bool(await pool.fetchval(APPLIED) == events)

    await until(are_applied, SECONDS, lambda: worker.log.read_text()[-4000:])


async def test_a_worker_that_is_kept_out_of_its_group_gets_in_later(
    worker: WorkerProcess, kafka: str, topic: str, pool: Pool
) -> None:
    try:
        async with stranger(kafka, topic):
            worker.start()
            await worker.ready()
            await refused(worker)
            await post(worker, 1)
            assert await pool.fetchval(APPLIED) == 0
        await post(worker, 2)
        await applied(worker, pool, 2)
    finally:
        assert worker.stop() == 0


async def test_a_worker_that_is_put_out_of_its_group_gets_in_again(
    worker: WorkerProcess, kafka: str, topic: str, pool: Pool
) -> None:
    worker.start()
    try:
        await worker.ready()
        await post(worker, 1)
        await applied(worker, pool, 1)
        worker.process.send_signal(signal.SIGSTOP)
        async with stranger(kafka, topic):
            worker.process.send_signal(signal.SIGCONT)
            await refused(worker)
            await post(worker, 2)
        await post(worker, 3)
        await applied(worker, pool, 3)
    finally:
        worker.process.send_signal(signal.SIGCONT)
        assert worker.stop() == 0


async def test_a_worker_that_waits_for_one_that_hangs_can_be_stopped(
    worker: WorkerProcess, tmp_path: Path, database_dsn: str, kafka: str, topic: str
) -> None:
    # The broker answers the second worker when the first, which hangs, has lost its session: after 8 s.
    second = WorkerProcess(tmp_path, DATABASE_URL=database_dsn, BROKER_URL=kafka, TOPIC=topic, CONSUMER_GROUP=topic)
    second.set(SERVICES="event_handler", SHUTDOWN_SECONDS="4")
    worker.start()
    try:
        await group_is(kafka, topic, "Stable")
        worker.process.send_signal(signal.SIGSTOP)
        second.start()
        try:
            await group_is(kafka, topic, "PreparingRebalance")
        finally:
            code = second.stop()
        assert code == 0, second.log.read_text()[-4000:]
    finally:
        worker.process.send_signal(signal.SIGCONT)
        assert worker.stop() == 0
