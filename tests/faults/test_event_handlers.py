"""Event handlers that die, freeze and come back: what they had is applied once, in order, by whoever has it next."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.faults.faulty_worker import during
from tests.faults.trial import Trial


async def test_a_killed_event_handler_is_replaced(trial: Trial) -> None:
    """kill -9 of one of two event handlers"""
    door = await trial.start("ingestion,query")
    handlers = [await trial.start("event_handler") for _ in range(2)]
    await trial.has_members(2)
    trial.read(door)
    await trial.load(door)
    await trial.note_under_way()
    handlers[0].kill()
    await trial.resumed("kill, the other takes over", within=12)
    await trial.note_under_way()
    trial.bit(kills=1)
    await trial.verdict()


@pytest.mark.slow_faults
async def test_a_killed_event_handler_is_started_again(trial: Trial) -> None:
    """kill -9 of the only event handler, which is started again at once"""
    door = await trial.start("ingestion,query")
    handler = await trial.start("event_handler")
    trial.read(door)
    await trial.load(door)
    await trial.note_under_way()
    handler.kill()
    handler.start()
    await trial.resumed("kill and start", within=12)
    await trial.note_under_way()
    trial.bit(kills=1)
    await trial.verdict()


async def test_a_killed_event_handler_with_a_name_of_its_own_goes_on_at_once(trial: Trial) -> None:
    """kill -9 of the only event handler, which has CONSUMER_INSTANCE_ID set and is started again at once"""
    door = await trial.start("ingestion,query")
    handler = await trial.start("event_handler", CONSUMER_INSTANCE_ID="one")
    await trial.load(door)
    await trial.note_under_way()
    handler.kill()
    handler.start()
    await trial.resumed("kill and start", within=8)
    await trial.note_under_way()
    trial.bit(kills=1)
    await trial.verdict()


@pytest.mark.slow_faults
async def test_an_event_handler_that_is_frozen_over_a_rebalance(trial: Trial) -> None:
    """an event handler is frozen for 25 s, loses its partitions, and wakes"""
    door = await trial.start("ingestion,query")
    handlers = [await trial.start("event_handler") for _ in range(2)]
    await trial.has_members(2)
    trial.read(door)
    await trial.load(door)
    handlers[0].freeze()
    await trial.resumed("freezing, the other takes over", within=14)
    await trial.has_members(1)
    await during(12, trial.note_under_way)
    handlers[0].thaw()
    await trial.has_members(2)
    await trial.resumed("waking", within=14)
    trial.bit(members_thrown_out=1)  # or the group would not have had one member
    await trial.verdict()


@pytest.mark.slow_faults
async def test_three_event_handlers_are_added_and_killed_in_rotation(trial: Trial, chance: random.Random) -> None:
    """three event handlers, added and killed in rotation"""
    door = await trial.start("ingestion,query")
    handlers = [trial.worker("event_handler") for _ in range(3)]
    handlers[0].start()
    trial.read(door)
    await trial.load(door)
    kills = 0
    for turn in range(6):
        coming, going = handlers[(turn + 1) % 3], handlers[turn % 3]
        coming.start()
        await asyncio.sleep(chance.uniform(0.5, 4))
        await trial.note_under_way()
        going.kill()
        kills += 1
        await asyncio.sleep(chance.uniform(0.5, 4))
        await trial.note_under_way()
    await trial.resumed("the last kill", within=14)
    trial.bit(kills=kills)
    await trial.verdict()
