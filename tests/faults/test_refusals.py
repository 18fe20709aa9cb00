"""Kafka refuses records, or needs long for them."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.checking.load import Event, random_event
from tests.faults.faulty_worker import FaultyWorker, during
from tests.faults.planting import Edit, plant
from tests.faults.trial import Trial
from tests.support.servers.command_line import command
from tests.support.servers.tcp_proxy import TcpProxy

LIMIT = "max.message.bytes"
SMALL, ROOMY = "20000", "1048576"
UNPUBLISHED = "SELECT count(*) FROM unpublished WHERE published_at IS NULL"
COMMAND_SECONDS = 120.0
ROUNDS = 12
RESUMED_SECONDS = 15.0
# What takes 20 s takes 2 s here; acknowledgements come after 3 s.
SHORT = (
    Edit("agents/relay/relay.py", "IDLE_TIMEOUT_SECONDS = 20.0\n", "IDLE_TIMEOUT_SECONDS = 2.0\n"),
    Edit("agents/relay/paced_publishing.py", "HEARTBEAT_SECONDS = 5.0\n", "HEARTBEAT_SECONDS = 0.5\n"),
)
SLOW_ACKNOWLEDGEMENTS = "publisher.publishing=sleep:3@9..48"
THROTTLED_BYTES_A_SECOND = 150_000
EVENT_BYTES = 60_000


class Large:
    """Makes random events, of which some are larger than the topic allows."""

    def __init__(self, trial: Trial) -> None:
        self.makes_large = True
        self._trial = trial

    def make(self, chance: random.Random, source: str, device: str) -> Event:
        """For `Load`."""
        event = random_event(chance, source, device)
        kind = chance.random()
        if self.makes_large and kind < 0.04:
            size = chance.choice((25_000, 50_000))
            event |= {"type": "device.registered", "data": {"name": device, "more": "x" * size}}
            self._trial.too_large.add((event["source"], event["id"]))
        elif kind < 0.08:  # it fits, but not together with another
            event |= {"type": "device.registered", "data": {"name": device, "more": "x" * 15_000}}
        return event


async def alter(admin: AIOKafkaAdminClient, topic: str, limit: str) -> None:
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {LIMIT: limit})])


async def retry(worker: FaultyWorker) -> None:
    """`faust -A app unpublished retry`."""
    ended = await asyncio.to_thread(
        command, "unpublished", "retry", "--json", settings=worker._environment, seconds=COMMAND_SECONDS
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_a_topic_that_allows_only_small_records(trial: Trial) -> None:
    """the topic allows 20 kB a record, and clients post some events of 50 kB, until its limit is raised"""
    admin = AIOKafkaAdminClient(bootstrap_servers=trial.kafka.removeprefix("kafka://"))
    await admin.start()
    await admin.create_topics([NewTopic(trial.topic, 8, 1, topic_configs={LIMIT: SMALL})])
    worker = await trial.start()
    trial.read(worker)
    large = Large(trial)
    await trial.load(worker, make=large.make)
    for _ in range(ROUNDS):
        await trial.accepted(100)
        await trial.note_under_way()
    await trial.resumed("the refusals", within=RESUMED_SECONDS)
    large.makes_large = False
    # Events that are larger than the old limit may be in the outbox.
    await trial.resumed("the last of them", within=RESUMED_SECONDS)
    refused = await trial.ask(UNPUBLISHED)
    waits = trial.said("waits for Kafka")
    await alter(admin, trial.topic, ROOMY)
    await admin.close()
    await retry(worker)
    assert await trial.ask(UNPUBLISHED) == 0
    await trial.resumed("the retry", within=RESUMED_SECONDS)
    trial.bit(events_refused=refused)
    assert waits == 0
    await trial.verdict()


@pytest.mark.slow_faults
async def test_acknowledgements_that_come_later_than_a_session_may_be_idle(trial: Trial, tmp_path: Path) -> None:
    """Kafka acknowledges each batch after 3 s, while the relay's session at PostgreSQL may be idle for 2 s"""
    worker = trial.worker(FAULT_POINTS=SLOW_ACKNOWLEDGEMENTS, RELAY_WATCHDOG_SECONDS="0.5")
    worker.source = plant(tmp_path / "source", SHORT)
    worker.start()
    await worker.ready()
    trial.read(worker)
    await trial.load(worker, warm_up=0)
    await trial.until_said("Fault point publisher.publishing: sleep")
    await during(10, trial.note_under_way)
    await trial.resumed("the last slow round")
    trial.bit(slow_batches=40)
    assert trial.said("relay is active") == 1, trial.logs(30_000)
    assert trial.clients.journal.unanswered == 0
    await trial.verdict()
    assert trial.outcomes.copies == 0, "a round was published twice"


@pytest.mark.slow_faults
async def test_a_broker_that_takes_few_bytes_a_second(kafka_trial: Trial, kafka_proxy: TcpProxy) -> None:
    """150 kB a second pass to Kafka for 60 s, while clients post 600 kB a second"""
    trial = kafka_trial

    def make(chance: random.Random, source: str, device: str) -> Event:
        event = random_event(chance, source, device)
        return event | {"type": "door.opened", "data": "x" * EVENT_BYTES} if chance.random() < 0.2 else event

    worker = await trial.start()
    trial.read(worker)
    load = await trial.load(worker, events_a_second=50, most_in_a_batch=10, make=make)
    kafka_proxy.throttle(THROTTLED_BYTES_A_SECOND)
    await during(60, trial.note_under_way)
    kafka_proxy.throttle(None)
    await trial.resumed("the throttle's end", within=RESUMED_SECONDS * 2)
    trial.bit(bytes_passed_slowly=kafka_proxy.throttled)
    assert trial.said("relay is active") == 1, trial.logs(30_000)
    assert load.journal.unanswered == 0
    await trial.verdict()
    assert trial.outcomes.copies < trial.outcomes.events // 4, "rounds are published again and again"
