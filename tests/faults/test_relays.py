"""Relays that die, freeze and wake: one is active at a time, and the next one goes on where it stopped."""

from __future__ import annotations

import random

import pytest

from tests.faults.faulty_worker import FaultyWorker, during
from tests.faults.trial import Trial

ACTIVE = "This worker's relay is active."
# Killed: 3 s on a machine that has nothing else to do; two cores that carry clients, workers and servers get more.
KILLED_SECONDS = 5.0
KILLS = 2
# PostgreSQL ends the session of a relay after 20 s without a word from it.
FROZEN_SECONDS = 30.0


def active_one(trial: Trial, among: list[FaultyWorker]) -> FaultyWorker:
    """The worker that was the last to say that its relay is active."""
    said = {
        line[:23]: one
        for one in among
        if one.log.exists()
        for line in one.log.read_text().splitlines()
        if ACTIVE in line
    }
    assert said, trial.logs()
    return said[max(said)]


async def two_relays(trial: Trial) -> list[FaultyWorker]:
    """Two workers with a door and a relay each, and an event handler."""
    doors = [await trial.start("ingestion") for _ in range(2)]
    handler = await trial.start("event_handler,query")
    trial.read(handler)
    await trial.load(*doors)
    return doors


async def test_the_active_relay_is_killed_again_and_again(trial: Trial, chance: random.Random) -> None:
    """two relays; kill -9 of the active one, twice"""
    doors = await two_relays(trial)
    for turn in range(KILLS):
        await trial.accepted(chance.randint(20, 200))
        await trial.note_under_way()
        active = active_one(trial, doors)
        active.kill()
        await trial.resumed(f"kill {turn + 1}", within=KILLED_SECONDS, published=True)
        active.start()
        await active.ready()
    trial.bit(kills=KILLS, relays_that_took_over=trial.said(ACTIVE) - 1)
    await trial.verdict()


@pytest.mark.slow_faults
async def test_a_relay_is_frozen_and_wakes(trial: Trial) -> None:
    """the active relay is frozen, another takes over, and the first one wakes"""
    doors = await two_relays(trial)
    frozen = active_one(trial, doors)
    await trial.note_under_way()
    frozen.freeze()
    await trial.resumed("freezing", within=FROZEN_SECONDS, published=True)
    await during(5, trial.note_under_way)
    frozen.thaw()
    await trial.resumed("waking")
    trial.bit(relays_that_took_over=trial.said(ACTIVE) - 1)
    await trial.verdict()
