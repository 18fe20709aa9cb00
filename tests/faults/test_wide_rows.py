"""Rows of hundreds of kB, of which PostgreSQL cannot write as many in time as a batch has."""

from __future__ import annotations

import random

import aiohttp
import asyncpg
import pytest

from tests.checking.load import Event, random_event
from tests.faults.faulty_worker import FaultyWorker, during
from tests.faults.trial import Trial

DEVICES = 32
FURTHER_METRICS = 300
NAME = "{:04} é" + "x" * 240
LITTLE_TIME = "0.5"
# A disk that writes 40 of these rows a second, so that more than 20 are too many for a statement.
SLOW_DISK = """
CREATE FUNCTION slow_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.025); RETURN NEW; END $$;
CREATE TRIGGER slow_disk BEFORE INSERT OR UPDATE ON projections FOR EACH ROW
WHEN (octet_length(NEW.state::text) > 100000) EXECUTE FUNCTION slow_disk();
"""
WIDE = "SELECT count(*) FROM projections WHERE octet_length(state::text) > 150000"
TOO_LONG = "PostgreSQL took too long for"
FROZEN_SECONDS = 6.0
RESUMED_SECONDS = 40.0


def wide_events(device: str) -> list[Event]:
    """Readings of many metrics with long names and units, which the row of the device keeps all."""
    chance = random.Random(device)
    events = []
    for number in range(FURTHER_METRICS):
        event = random_event(chance, f"/wide/{device}", device) | {"type": "reading.recorded"}
        name = NAME.format(number)
        events.append(event | {"data": {"metric": name, "value": number, "unit": name}})
    return events


async def make_rows_wide(trial: Trial, door: FaultyWorker) -> None:
    async with aiohttp.ClientSession() as http:
        for number in range(1, DEVICES + 1):
            events = wide_events(f"device-{number}")
            async with http.post(f"{door.ingestion}/api/v1/events", json=events) as response:
                assert (await response.json())["accepted"] == len(events)
            for event in events:
                trial.note_accepted(event)


@pytest.mark.slow_faults
async def test_wide_rows(trial: Trial) -> None:
    """32 rows of 150 kB on a slow disk, and half a second for each statement: a batch changes too many of them"""
    connection = await asyncpg.connect(trial.dsn)
    await connection.execute(SLOW_DISK)
    await connection.close()
    door = await trial.start("ingestion,query")
    handler = trial.worker("event_handler", DATABASE_TIMEOUT_SECONDS=LITTLE_TIME)
    trial.read(door)
    await trial.load(door, keys=DEVICES, events_a_second=15, most_in_a_batch=10, warm_up=0)
    await make_rows_wide(trial, door)
    await trial.note_under_way()
    handler.start()
    await trial.resumed("start", within=RESUMED_SECONDS)
    assert await trial.ask(WIDE) == DEVICES
    handler.freeze()
    await during(FROZEN_SECONDS, trial.note_under_way)
    handler.thaw()
    await trial.resumed("waking", within=RESUMED_SECONDS)
    trial.bit(statements_too_long=trial.said(TOO_LONG))
    assert await trial.ask("SELECT count(*) FROM parked") == 0
    await trial.verdict()
