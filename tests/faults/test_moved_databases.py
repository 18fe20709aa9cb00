"""The database is moved, and the topic is shared: what it has of others, or of a lost future, does no harm."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer

from headrace.events.origin import ORIGIN, Installation, sign

from tests.checking.evidence import read_topic
from tests.faults.fault_fixtures import MakeTrial
from tests.faults.trial import Trial
from tests.support.clients.foreign_producer import Header
from tests.support.servers.fresh import new_database, new_topic
from tests.support.servers.moved_database import become_another, copied, dropped, put_back
from tests.support.servers.own_kafka import OwnKafka
from tests.support.servers.own_postgres import OwnPostgres
from tests.support.servers.tcp_proxy import TcpProxy

EVENTS = 200
ROUNDS = 5
STRANGER = Installation(b"stranger", b"x" * 32)
LOST = "The topic is ahead of the event store"


@pytest.fixture
def other_dsn(postgres_dsn: str) -> Iterator[str]:
    with new_database(postgres_dsn) as dsn:
        yield dsn


async def test_the_database_steps_back_under_living_workers(postgres_trial: Trial, own_postgres: OwnPostgres) -> None:
    """PostgreSQL is put back to an older copy, while the workers keep running"""
    trial = postgres_trial
    workers = [await trial.start(), await trial.start()]
    await trial.load(*workers)
    await trial.note_under_way()
    kept = await trial.rest(kept=True)
    await own_postgres.back_up()
    await trial.load(*workers, warm_up=0, turn=1)
    await trial.accepted(EVENTS)
    await trial.rest(kept=False)
    lost = await trial.will_lose(kept)
    await own_postgres.restore()
    await trial.load(*workers, warm_up=0, turn=2)
    await trial.accepted(EVENTS)
    await trial.resumed("the step back")
    trial.bit(records_of_the_lost_future=lost)
    assert trial.said(LOST)
    await trial.verdict()


async def _older_than_its_topic(trial: Trial) -> int:
    """Put the database back to an older copy; how many records the topic has of the lost future."""
    worker = await trial.start()
    await trial.load(worker)
    await trial.note_under_way()
    kept = await trial.rest(kept=True)
    worker.kill()
    copy = await copied(trial.dsn)
    try:
        worker = await trial.start()
        await trial.load(worker, warm_up=0, turn=1)
        await trial.accepted(EVENTS)
        await trial.rest(kept=False)
        worker.kill()
        await put_back(trial.dsn, copy)
    finally:
        await dropped(copy)
    return await trial.will_lose(kept)


async def _goes_on(trial: Trial, lost: int) -> None:
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker, turn=2)
    await trial.accepted(EVENTS)
    await trial.resumed("the restore")
    trial.bit(records_of_the_lost_future=lost)
    await trial.verdict()


async def test_a_restore_under_the_same_topic(trial: Trial) -> None:
    """the database is restored from an older copy; the topic stays"""
    await _goes_on(trial, await _older_than_its_topic(trial))
    assert trial.said(LOST)


async def test_a_restore_under_a_new_topic(trial: Trial) -> None:
    """the database is restored from an older copy, and gets a new topic"""
    lost = await _older_than_its_topic(trial)
    trial.topic = new_topic()
    trial.foreign.clear()
    await _goes_on(trial, lost)


async def test_a_restore_under_another_broker(trial: Trial, own_kafka: OwnKafka, kafka_proxy: TcpProxy) -> None:
    """the database is restored from an older copy, and gets another broker"""
    lost = await _older_than_its_topic(trial)
    if not own_kafka.processes:
        await own_kafka.start()
    assert kafka_proxy.port == own_kafka.proxy_port
    trial.kafka = own_kafka.url
    trial.foreign.clear()
    await _goes_on(trial, lost)


async def test_two_installations_share_a_topic_and_a_group(
    make_trial: MakeTrial, database_dsn: str, other_dsn: str, kafka: str
) -> None:
    """two installations share the topic and the consumer group"""
    await become_another(other_dsn)
    trials = [make_trial(database_dsn, kafka), make_trial(other_dsn, kafka)]
    for place, trial in enumerate(trials):
        worker = await trial.start()
        await trial.load(worker, warm_up=0, turn=place)
    for trial in trials:
        await trial.accepted(2 * EVENTS)
        await trial.note_under_way()
    for trial in trials:
        await trial.rest(kept=False)
    values = [{one.value for one in await read_topic(kafka, trials[0].topic)}] * 2
    for trial, of_both in zip(trials, values, strict=True):
        trial.foreign |= of_both - await _own(trial)
        trial.bit(records_of_the_other=len(trial.foreign))
        await trial.verdict()


async def _own(trial: Trial) -> set[bytes | None]:
    """The values of the records of this installation: their sources are those of its load."""
    sources = {one.source for one in trial.clients.journal.sent}
    values = {one.value for one in await read_topic(trial.kafka, trial.topic)}
    return {value for value in values if value and json.loads(value)["source"] in sources}


async def test_strangers_write_well_formed_events(trial: Trial, chance: random.Random) -> None:
    """well-formed events of strangers on the topic: without origin, of another installation, with a wrong signature"""
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    ours = Installation(bytes.fromhex(await trial.ask_text("SELECT encode(id, 'hex') FROM installation")), b"y" * 32)
    producer = AIOKafkaProducer(bootstrap_servers=trial.kafka.removeprefix("kafka://"))
    await producer.start()
    written = 0
    try:
        for _ in range(ROUNDS):
            last = await trial.ask("SELECT last_position FROM relay_state")
            epoch = await trial.ask("SELECT epoch FROM relay_state")
            for position in (1, last, last + 1, last + 2, last + 50, last + 1_000, 2**63 - 1):
                for partition in range(8):
                    value = _event(chance, position)
                    trial.foreign.add(value)
                    origins = [sign(one, epoch, partition, last, value) for one in (STRANGER, ours)]
                    headers: list[list[Header]] = [[], [(ORIGIN, origins[0])], [(ORIGIN, origins[1])]]
                    await producer.send_and_wait(
                        trial.topic, value, key=b"device-1", partition=partition, headers=chance.choice(headers)
                    )
                    written += 1
            await trial.note_under_way()
            await trial.accepted(50)
    finally:
        await producer.stop()
    await trial.resumed("the last of them")
    trial.bit(records=written, lines_in_the_log=trial.said("is passed over"))
    await trial.verdict()


def _event(chance: random.Random, position: int) -> bytes:
    """An event as a relay would write it."""
    return (
        f'{{"specversion":"1.0","id":"{chance.getrandbits(64):016x}","source":"/strangers","type":"reading.recorded",'
        f'"subject":"device-1","time":"2026-03-01T00:00:00Z","data":{{"metric":"temperature","value":1}},'
        f'"sequence":"{position:020d}"}}'
    ).encode()
