"""docs/reliability.md names every fault point and every invariant, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from headrace.process.fault_points import POINTS, read_faults

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def test_every_fault_point_is_described() -> None:
    described = re.findall(r"^\| `([a-z.]+)` \|", TEXT, re.MULTILINE)
    assert described == list(POINTS)


def test_the_examples_of_faults_are_valid() -> None:
    examples = re.findall(r"`([a-z.]+=(?:kill|raise|sleep)[^`]*)`", TEXT)
    assert len(examples) == 3
    assert all(read_faults(example) for example in examples)


def test_every_invariant_that_the_checker_names_is_described() -> None:
    described = set(re.findall(r"^\| (I\d+) \|", TEXT, re.MULTILINE))
    checker = "".join(file.read_text("utf-8") for file in (ROOT / "tests" / "checking").glob("check_*.py"))
    assert set(re.findall(r'"(I\d+)"', checker)) == described - {"I9", "I10"}
