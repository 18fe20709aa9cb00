"""Handlers that fail for an event, for a projection, or never return: the product's own, with a mistake planted."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import asyncpg
import pytest

from tests.checking.load import Event, random_event
from tests.faults.faulty_worker import FaultyWorker, Keeper, during
from tests.faults.planting import Edit, plant
from tests.faults.trial import Trial
from tests.support.servers.command_line import command
from tests.support.servers.worker_process import ROOT

POISON = "poison"
REGISTERED = ' and makes the device active."""\n'
FAILS = Edit(
    "agents/projections/devices.py",
    REGISTERED,
    f"{REGISTERED}    if event.data.name == 'poison':\n        raise KeyError('planted')\n",
)
HANGS = Edit(
    "agents/projections/devices.py", REGISTERED, f"{REGISTERED}    while event.data.name == 'poison':\n        pass\n"
)
HOURLY = "    value = event.data.value\n    device, metric = device_of(event), event.data.metric\n"
ALL_FAIL = Edit("agents/projections/readings_hourly.py", HOURLY, f"    raise KeyError('planted')\n{HOURLY}")
COMMAND_SECONDS = 60.0


class Poisoner:
    """Makes random events, of which the first few registrations of a device are poison."""

    def __init__(self, trial: Trial, *, devices: set[str], times: int) -> None:
        self.sent = 0
        self._trial = trial
        self._devices = devices
        self._times = times

    def make(self, chance: random.Random, source: str, device: str) -> Event:
        """For `Load`."""
        event = random_event(chance, source, device)
        if self.sent < self._times and device in self._devices and event["type"] == "device.registered":
            event["data"]["name"] = POISON
            self._trial.poison.add((event["source"], event["id"]))
            self.sent += 1
        return event


async def parked_command(worker: FaultyWorker, *arguments: str) -> None:
    """`faust -A app parked …`, with the code of the day and a worker's settings."""
    ended = await asyncio.to_thread(
        command, "parked", *arguments, settings=worker._environment, seconds=COMMAND_SECONDS
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def discard_first_of_one_key(trial: Trial, worker: FaultyWorker) -> None:
    """Let `devices` go on without the first event that is parked."""
    position = await trial.ask("SELECT min(position) FROM parked WHERE projection = 'devices'")
    await parked_command(worker, "discard", "devices", "--position", str(position), "--reason", "poison")
    connection = await asyncpg.connect(trial.dsn)
    found = await connection.fetch("SELECT source, id FROM event_store WHERE position = $1", position)
    await connection.close()
    trial.given_up |= {("devices", (source, event_id)) for source, event_id in found}


async def test_one_event_is_poison_until_the_handler_is_fixed(trial: Trial, tmp_path: Path) -> None:
    """two events are poison; one is discarded, the handler is fixed, and all that is parked retried"""
    door = await trial.start("ingestion,query")
    handler = trial.worker("event_handler", CONSUMER_INSTANCE_ID="one")
    handler.source = plant(tmp_path / "source", [FAILS])
    handler.start()
    trial.read(door)
    poisoner = Poisoner(trial, devices={"device-1", "device-5"}, times=2)
    await trial.load(door, refused_share=0, make=poisoner.make)
    await trial.until_said("parked the event", handler)
    await trial.resumed("parking")
    await during(3, trial.note_under_way)
    parked = await trial.ask("SELECT count(*) FROM parked")
    await discard_first_of_one_key(trial, handler)
    await trial.resumed("discarding")
    handler.kill()
    handler.source = ROOT
    handler.start()
    await trial.resumed("the fixed handler's start", within=15)
    await parked_command(handler, "retry", "devices", "--all")
    trial.bit(events_parked=parked, events_discarded=len(trial.given_up))
    trial.poison.clear()  # so the checker takes nothing parked for granted
    await trial.verdict()


@pytest.mark.slow_faults
async def test_a_whole_projection_fails_until_it_is_fixed(trial: Trial, tmp_path: Path) -> None:
    """every event is poison for one projection; the others continue; it is fixed and retried"""
    door = await trial.start("ingestion,query")
    handler = trial.worker("event_handler", CONSUMER_INSTANCE_ID="one")
    handler.source = plant(tmp_path / "source", [ALL_FAIL])
    handler.start()
    trial.read(door)
    await trial.load(door, refused_share=0)
    await trial.until_said("parked the event", handler)
    await trial.resumed("parking")
    await during(3, trial.note_under_way)
    parked = await trial.ask("SELECT count(*) FROM parked")
    healthy = await trial.ask("SELECT count(*) FROM parked WHERE projection <> 'readings_hourly'")
    assert healthy == 0
    handler.kill()
    handler.source = ROOT
    handler.start()
    await trial.resumed("the fixed handler's start", within=15)
    await parked_command(handler, "retry", "readings_hourly", "--all")
    trial.bit(events_parked=parked)
    await trial.verdict()


async def test_a_handler_that_hangs_ends_its_worker(trial: Trial, tmp_path: Path) -> None:
    """a handler never returns; its worker is ended, and a fixed one continues"""
    door = await trial.start("ingestion,query")
    handler = trial.worker("event_handler", CONSUMER_INSTANCE_ID="one", STALL_SECONDS="4")
    handler.source = plant(tmp_path / "source", [HANGS])
    handler.start()
    trial.read(door)
    poisoner = Poisoner(trial, devices={f"device-{number}" for number in range(1, 65)}, times=3)
    await trial.load(door, warm_up=0, refused_share=0, make=poisoner.make)
    keeper = Keeper(handler)
    await keeper.died(1)
    await trial.note_under_way()
    handler.source = ROOT
    await trial.resumed("the end of the hung worker", within=20)
    await keeper.stop()
    trial.bit(workers_ended=trial.said("it is stuck in the place above"))
    trial.poison.clear()
    await trial.verdict()
