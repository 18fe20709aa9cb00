"""Waiting and saying things throttled."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import WakeUp, backoff_seconds


async def test_wake_ups_before_the_look_are_one() -> None:
    wake_up = WakeUp()
    wake_up.set()
    wake_up.set()
    assert await wake_up.wait(0.001) is True
    assert await wake_up.wait(0.001) is False


async def test_a_waiting_loop_is_woken() -> None:
    wake_up = WakeUp()
    waiting = asyncio.create_task(wake_up.wait(30))
    await asyncio.sleep(0)
    wake_up.set()
    assert await waiting is True


def test_backoff_doubles_up_to_the_most_with_at_most_half_taken_off() -> None:
    waits = list(itertools.islice(backoff_seconds(first=0.1, most=1.0), 8))
    for wait, full in zip(waits, (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0), strict=True):
        assert full / 2 <= wait <= full


def test_the_same_trouble_is_logged_once_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    throttled = ThrottledLog(logging.getLogger("tests.throttled"), interval_seconds=3600)
    for number in range(100):
        throttled.warning("away: %s", number)
    throttled.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["away: 0", "something else"]


def test_the_next_line_tells_how_many_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    throttled = ThrottledLog(logging.getLogger("tests.throttled"), interval_seconds=0)
    throttled._interval = 3600
    throttled.warning("away")
    throttled.warning("away")
    throttled._interval = 0
    throttled.warning("away")
    assert [record.getMessage() for record in caplog.records] == ["away", "away (1 more since)"]
