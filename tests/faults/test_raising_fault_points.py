"""Exceptions at the fault points: none leaves an agent's body, and nothing is lost, doubled or reordered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.checking.findings import report
from tests.checking.load import Load
from tests.faults.planted_system import SEED, PlantedSystem, accepted, has_ended, logged
from tests.support.servers.worker_process import ROOT

pytestmark = pytest.mark.faults

PROJECTOR_POINTS = ("projector.fetched", "projector.writing", "projector.committed", "projector.acknowledging")


@pytest.fixture
async def system(tmp_path: Path, database_dsn: str, kafka: str, topic: str) -> AsyncIterator[PlantedSystem]:
    started = PlantedSystem(ROOT, tmp_path, database_dsn, kafka, topic)
    yield started
    await started.stop()


async def test_no_exception_leaves_an_agents_body(system: PlantedSystem) -> None:
    worker = await system.start(FAULT_POINTS=",".join(f"{point}=raise@*/7" for point in PROJECTOR_POINTS))
    load = Load([worker.ingestion], seed=SEED)
    load.start()
    system.read(worker)
    await logged(worker, "Fault injection is on (FAULT_POINTS=projector.fetched=raise@*/7")
    for point in PROJECTOR_POINTS:
        await logged(worker, f"Fault point {point}: raise")
    await accepted(load, 200)
    findings = await system.verdict(load)
    assert findings == [], report(findings)
    assert worker.process.poll() is None
    # Faust would say that an agent crashed, with a traceback.
    assert "Traceback" not in worker.log.read_text()


async def test_an_exception_at_the_door_leaves_the_outcome_open_and_the_event_once(system: PlantedSystem) -> None:
    worker = await system.start(FAULT_POINTS="door.taken=raise@*/5,door.committed=raise@*/7")
    load = Load([worker.ingestion], seed=SEED)
    load.start()
    await accepted(load, 400)
    findings = await system.verdict(load)
    assert findings == [], report(findings)
    assert load.journal.answers["200"] > 0, "nothing that was committed without an answer was sent again"
    assert load.journal.unanswered > 10


@pytest.mark.parametrize("point", ["relay.stored", "publisher.publishing", "relay.published"])
async def test_an_exception_in_the_relay_ends_the_worker_and_the_next_one_goes_on(
    system: PlantedSystem, point: str
) -> None:
    worker = await system.start(FAULT_POINTS=f"{point}=raise@30")
    load = Load([worker.ingestion], seed=SEED)
    load.start()
    await has_ended(worker, 1)
    assert f"fault point {point}, passage 30" in worker.log.read_text()
    await system.restart(worker)
    await accepted(load, 200)
    findings = await system.verdict(load)
    assert findings == [], report(findings)
