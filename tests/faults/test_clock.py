"""The clock of a worker's machine jumps: nothing is ordered, dropped or waited for by it.

The event handler keeps the right time: under libfaketime the thread of Faust's consumer stands still for seconds, also
where the clock is not moved at all; and it asks no clock but PostgreSQL's and the monotonic one.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest

from tests.faults.trial import Trial
from tests.support.not_installed import skip_without
from tests.support.servers.worker_process import WorkerProcess

NEAR_SECONDS = 60

LIBRARIES = ("/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")


@pytest.fixture
def libfaketime() -> Path:
    """The library that tells a process another time; scripts/install_test_packages.sh installs it."""
    found = [path for folder in LIBRARIES for path in Path(folder).glob("**/faketime/libfaketimeMT.so.1")]
    if not found:
        skip_without("faketime")
    return found[0]


async def clock_of(worker: WorkerProcess) -> float:
    """What time a worker takes it to be, in seconds, as its answers say."""
    async with aiohttp.ClientSession() as http, http.get(f"{worker.ingestion}/livez") as response:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()


async def test_the_clock_jumps_an_hour_forward_and_back(trial: Trial, tmp_path: Path, libfaketime: Path) -> None:
    """the clock of the door, the relay and the query service goes an hour forward, two hours back, and right again"""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(libfaketime),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_CACHE_DURATION": "1",
    }
    door = await trial.start("ingestion,query", **faked)
    await trial.start("event_handler")
    trial.read(door)
    await trial.load(door)
    shifts = (3_600, -3_600, 0)
    for shift in shifts:

        async def is_shifted(shift: int = shift) -> bool:
            return abs(await clock_of(door) - time.time() - shift) < NEAR_SECONDS

        await trial.note_under_way()
        clock.write_text(f"{shift:+d}")
        await trial.until(is_shifted)
        await trial.accepted(200)
        await trial.resumed(f"the clock is at {shift:+d} s", within=5)
    trial.bit(jumps_of_the_clock=len(shifts))
    await trial.verdict()
