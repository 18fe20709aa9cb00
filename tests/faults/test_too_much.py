"""Clients that send three times what can be relayed: what is too much is refused, what is accepted is kept."""

from __future__ import annotations

import pytest

from tests.faults.faulty_worker import during
from tests.faults.trial import Trial

# 20 events a round, and a round takes a tenth of a second and more.
SLOW_RELAY = {"RELAY_BATCH_EVENTS": "20", "FAULT_POINTS": "relay.storing=sleep:0.1", "OUTBOX_MAX_EVENTS": "500"}
THREE_TIMES = 600
OVERLOAD_SECONDS = 20.0
RECOVERED_SECONDS = 10.0


@pytest.mark.slow_faults
async def test_three_times_the_capacity(trial: Trial) -> None:
    """clients post three times as much as the relay can do (200 events a second)"""
    worker = await trial.start(**SLOW_RELAY)
    trial.read(worker)
    load = await trial.load(worker, warm_up=0, events_a_second=THREE_TIMES, sessions=16)
    await during(OVERLOAD_SECONDS, trial.note_under_way)
    await load.stop(patience_seconds=60)
    await trial.resumed("the overload", within=RECOVERED_SECONDS)
    trial.bit(answers_429=load.journal.answers["429"])
    assert trial.failed_reads == 0
    await trial.verdict()
