"""kill -9 at every fault point: the worker dies in the middle of its work, and is started again."""

from __future__ import annotations

import random

from headrace.process.fault_points import POINTS

from tests.faults.faulty_worker import Keeper
from tests.faults.trial import Trial

# So that it has work in hand; a round or a fetch has tens of events.
PASSAGES = range(5, 25)
OFF = {"FAULT_POINTS": ""}


async def test_kill_9_at_every_fault_point_in_turn(trial: Trial, chance: random.Random) -> None:
    """kill -9 at each fault point from door to projection, one after the other"""
    names = sorted(name for name in POINTS if not name.startswith("mqtt."))  # what posts over HTTP pass
    points = chance.sample(names, len(names))
    kills = [f"{point}=kill@{chance.choice(PASSAGES)}" for point in points]

    def again(deaths: int) -> dict[str, str]:
        return {"FAULT_POINTS": kills[deaths]} if deaths < len(kills) else OFF

    worker = await trial.start(CONSUMER_INSTANCE_ID="one")
    trial.read(worker)
    await trial.load(worker)
    worker.kill()
    keeper = Keeper(worker, again=lambda deaths: again(deaths - 1))
    for number in range(len(kills)):
        await keeper.died(number + 2)
        await trial.note_under_way()
    await worker.ready()
    await trial.resumed("the last kill", within=20)
    await keeper.stop()
    assert keeper.deaths == [-9] * (len(kills) + 1)
    trial.bit(kills=len(keeper.deaths), requests_without_an_answer=trial.clients.journal.unanswered)
    await trial.verdict()
