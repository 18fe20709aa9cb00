"""A checker that has never found anything proves nothing: each of these bugs must turn the suite red.

Each is planted alone, in a copy of the product; the same fault without the bug must leave nothing to find.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.checking.findings import report
from tests.faults.planted_bugs import BUGS, PlantedBug
from tests.faults.planted_system import PlantedSystem, kinds
from tests.faults.planting import Edit, plant
from tests.support.servers.worker_process import ROOT

pytestmark = pytest.mark.faults

Make = Callable[[tuple[Edit, ...]], PlantedSystem]


@pytest.fixture
async def make_system(tmp_path: Path, database_dsn: str, kafka: str, topic: str) -> AsyncIterator[Make]:
    made = []

    def make(edits: tuple[Edit, ...]) -> PlantedSystem:
        system = PlantedSystem(plant(tmp_path / "source", edits), tmp_path, database_dsn, kafka, topic)
        made.append(system)
        return system

    yield make
    for system in made:
        await system.stop()


def test_an_edit_whose_text_is_gone_must_be_rewritten(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"agents/relay/relay.py has this text 0 times, not once.*\nnot there"):
        plant(tmp_path / "source", [Edit("agents/relay/relay.py", "not there", "")])


def test_the_documentation_tells_which_bugs_are_planted() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    for bug in BUGS:
        assert re.search(rf"^\| {bug.name} \|.*\| {bug.kind.value} \({bug.where}\) \|$", text, re.MULTILINE), bug.name


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
async def test_a_planted_bug_is_named(make_system: Make, bug: PlantedBug) -> None:
    findings = await bug.scenario(make_system(bug.edits + bug.setting))
    print(report(findings))
    assert (bug.kind.value, bug.where) in kinds(findings), report(findings)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
async def test_the_same_fault_without_the_bug_leaves_nothing_to_find(make_system: Make, bug: PlantedBug) -> None:
    findings = await bug.scenario(make_system(bug.setting))
    assert findings == [], report(findings)
