"""Kafka dies, is away, freezes, loses its answers, and loses its data; meanwhile the door takes events."""

from __future__ import annotations

import time

import pytest

from tests.faults.faulty_worker import during
from tests.faults.trial import Trial
from tests.support.servers.own_kafka import OwnKafka
from tests.support.servers.tcp_proxy import Passing, TcpProxy

# The 5 s are for a machine that has nothing else to do: here two cores carry clients, workers and servers.
BACK_SECONDS = 8.0
# A broker that was frozen has thrown out its group first; where answers were lost, it is asked again after 10 s.
HALF_ALIVE_SECONDS = 25.0
WAITS = "waits for Kafka"
RESETS = 60


async def still_accepts(trial: Trial) -> int:
    """How many events were accepted while Kafka is away; it must be many."""
    before = trial.clients.accepted
    await trial.accepted(100)
    return trial.clients.accepted - before


async def test_the_broker_is_killed(kafka_trial: Trial, own_kafka: OwnKafka) -> None:
    """kill -9 of the broker, which is started again"""
    trial = kafka_trial
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    await trial.note_under_way()
    await own_kafka.kill()
    await still_accepts(trial)
    await trial.note_under_way()
    await own_kafka.start()
    await trial.resumed("start", within=BACK_SECONDS)
    trial.bit(kills=1, waits=trial.said(WAITS))
    assert trial.clients.journal.unanswered == 0
    await trial.verdict()


@pytest.mark.slow_faults
async def test_the_broker_is_away_for_60_seconds(
    kafka_trial: Trial, own_kafka: OwnKafka, kafka_proxy: TcpProxy
) -> None:
    """Kafka cannot be reached for 60 s"""
    trial = kafka_trial
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    kafka_proxy.refuse(refuse=True)
    cut = kafka_proxy.reset()
    before = trial.clients.accepted
    await during(60, trial.note_under_way)
    taken = trial.clients.accepted - before
    kafka_proxy.refuse(refuse=False)
    await trial.resumed("return", within=BACK_SECONDS)
    trial.bit(connections_cut=cut, connections_refused=kafka_proxy.refused)
    assert taken > 1_000
    assert trial.clients.journal.unanswered == 0
    assert len(worker.log.read_text().splitlines()) < 300, "the log repeats itself"
    await trial.verdict()


@pytest.mark.slow_faults
async def test_the_broker_is_frozen_for_45_seconds(kafka_trial: Trial, own_kafka: OwnKafka) -> None:
    """the broker is frozen for 45 s"""
    trial = kafka_trial
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    own_kafka.freeze()
    await during(45, trial.note_under_way)
    own_kafka.thaw()
    await trial.resumed("waking", within=HALF_ALIVE_SECONDS)
    trial.bit(waits=trial.said(WAITS))
    assert trial.clients.journal.unanswered == 0
    await trial.verdict()


@pytest.mark.slow_faults
async def test_the_answers_of_the_broker_are_lost(kafka_trial: Trial, kafka_proxy: TcpProxy) -> None:
    """what the broker answers is lost for 20 s: it has what it was sent, and nobody knows"""
    trial = kafka_trial
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    kafka_proxy.let_pass(Passing.REQUESTS)
    await during(20, trial.note_under_way)
    kafka_proxy.let_pass(Passing.EVERYTHING)
    await trial.resumed("the answers return", within=HALF_ALIVE_SECONDS)
    trial.bit(bytes_of_answers_lost=kafka_proxy.swallowed)
    assert trial.clients.journal.unanswered == 0
    await trial.verdict()


async def test_the_data_of_the_broker_are_wiped(kafka_trial: Trial, own_kafka: OwnKafka) -> None:
    """the broker is killed and its data directory wiped: the topic is filled again from event_store"""
    trial = kafka_trial
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    await trial.accepted(1_000)
    await trial.note_under_way()
    await own_kafka.kill()
    own_kafka.wipe()
    await still_accepts(trial)
    await trial.note_under_way()
    await own_kafka.start()
    await trial.resumed("start with nothing", within=HALF_ALIVE_SECONDS)
    trial.bit(times_filled_again=trial.said("The topic lacked"))
    await trial.verdict()


@pytest.mark.slow_faults
async def test_the_data_of_the_broker_are_wiped_while_nobody_posts(kafka_trial: Trial, own_kafka: OwnKafka) -> None:
    """the broker is killed and its data directory wiped while nobody posts"""
    trial = kafka_trial
    worker = await trial.start()
    await trial.load(worker)
    await trial.accepted(300)
    await trial.note_under_way()
    await trial.clients.stop()
    await own_kafka.kill()
    own_kafka.wipe()
    await own_kafka.start()
    started = time.monotonic()
    await trial.until_said("The topic lacked")
    trial.outcomes.resumed_seconds["start with nothing, filled"] = round(time.monotonic() - started, 2)
    trial.bit(times_filled_again=trial.said("The topic lacked"))
    await trial.verdict()


async def test_the_connections_to_the_broker_are_reset(kafka_trial: Trial, kafka_proxy: TcpProxy) -> None:
    """all connections to Kafka are reset, sixty times"""
    trial = kafka_trial
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    cut = 0
    for _ in range(RESETS):
        await trial.accepted(30)
        await trial.note_under_way()
        cut += kafka_proxy.reset()
    await trial.resumed("the last reset", within=BACK_SECONDS)
    trial.bit(connections_cut=cut)
    assert worker.runs
    assert trial.clients.journal.unanswered == 0
    await trial.verdict()
