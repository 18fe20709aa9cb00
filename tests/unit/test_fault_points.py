"""Fault points: what a setting may say, which passages bite, and nothing at all when nothing is set."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import read_settings
from headrace.errors import InvalidSettingError
from headrace.process import fault_points
from headrace.process.fault_points import POINTS, RELAY_STORED, Fault, FaultPointError, arm, read_faults


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm([])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("relay.stored=kill", Fault("relay.stored", "kill")),
        ("relay.stored=kill@100", Fault("relay.stored", "kill", first=100, last=100)),
        ("relay.stored=raise@*/7", Fault("relay.stored", "raise", every=7)),
        ("relay.stored=sleep:2.5@3..5", Fault("relay.stored", "sleep", 2.5, first=3, last=5)),
        ("relay.stored=sleep:1@3..", Fault("relay.stored", "sleep", 1, first=3)),
    ],
)
def test_a_fault_names_a_point_an_action_and_passages(text: str, fault: Fault) -> None:
    assert read_faults(text) == [fault]
    assert read_faults(f"door.taken=raise, {text}")[1] == fault
    assert read_settings({"FAULT_POINTS": text}).faults == [fault]


def test_nothing_is_armed_unless_it_is_named() -> None:
    assert read_settings({}).faults == []
    assert not any(point.armed for point in POINTS.values())
    arm(read_faults("relay.stored=raise"))
    assert [point.name for point in POINTS.values() if point.armed] == ["relay.stored"]


@pytest.mark.parametrize(
    "wrong",
    [
        "relay.store=kill",
        "relay.stored",
        "relay.stored=die",
        "relay.stored=sleep",
        "relay.stored=sleep:9999",
        "relay.stored=kill:3",
        "relay.stored=kill@0",
        "relay.stored=kill@5..3",
        "relay.stored=kill@*/0",
        "relay.stored=kill@",
    ],
)
def test_a_wrong_fault_is_one_line_that_names_it_and_what_is_allowed(wrong: str) -> None:
    with pytest.raises(InvalidSettingError) as refused:
        read_settings({"FAULT_POINTS": f"door.taken=raise@3,{wrong}"})
    message = str(refused.value)
    assert message.startswith(f"FAULT_POINTS={wrong}: not allowed; allowed: ")
    assert "\n" not in message
    assert all(name in message for name in POINTS)


@given(
    first=st.integers(1, 50),
    length=st.none() | st.integers(0, 50),
    every=st.integers(1, 10),
    passage=st.integers(1, 200),
)
def test_a_fault_bites_at_every_nth_passage_of_its_range(
    first: int, length: int | None, every: int, passage: int
) -> None:
    last = None if length is None else first + length
    expected = passage in range(first, 201 if last is None else last + 1) and passage % every == 0
    assert Fault("relay.stored", "raise", first=first, last=last, every=every).bites(passage) == expected


async def test_a_point_raises_at_the_passages_that_are_set_and_lets_pass_at_all_others() -> None:
    arm(read_faults("relay.stored=raise@2..3"))
    raised = []
    for _ in range(4):
        try:
            await RELAY_STORED.passed()
            raised.append(False)
        except FaultPointError:
            raised.append(True)
    assert raised == [False, True, True, False]


async def test_a_point_sleeps_and_is_woken_by_a_cancellation() -> None:
    arm(read_faults("relay.stored=sleep:3600"))
    passing = asyncio.create_task(RELAY_STORED.passed())
    await asyncio.sleep(0)
    assert not passing.done()
    passing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await passing


def test_a_point_kills_its_process() -> None:
    code = (
        "import asyncio\n"
        "from headrace.process.fault_points import arm, read_faults, RELAY_STORED\n"
        "arm(read_faults('relay.stored=kill@2'))\n"
        "asyncio.run(RELAY_STORED.passed())\n"
        "print('once', flush=True)\n"
        "asyncio.run(RELAY_STORED.passed())\n"
        "print('twice', flush=True)\n"
    )
    root = str(fault_points.__file__).removesuffix("headrace/process/fault_points.py")
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (-9, "once\n")
