"""What this machine allows any pipeline of this kind: the bare path, and the bare server before it.

`bound` is the ratio that a system would reach which uses all CPUs without a pause and does nothing beyond the bare path
(60 events at a time, about what the load of `singles` makes of itself) behind the bare server. `alone_p50_ms` is the
bare path of one event at 20 a second, from the insert until three projections are committed; no HTTP.
"""

from __future__ import annotations

import asyncio
import time

import psutil

from benchmarks.bare_path import BarePath, open_bare_path
from benchmarks.client import event
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.cpu import CpuMeter
from benchmarks.open_loop import percentile_ms
from benchmarks.place import KAFKA, POSTGRES, Place
from benchmarks.posts import DEVICES, SECONDS

TOGETHER = 60
GROUPS = 400
WARM_UP_GROUPS = 100
ALONE_EVENTS = 100
ALONE_PER_SECOND = 20


async def measure(place: Place, options: Options) -> Round:
    """The bare server, then the bare path: many events together, then one at a time."""
    bare, bare_cpu = await place.bare_posts(options.seconds or SECONDS)
    async with open_bare_path(place) as path:
        await _carry(path, 0, WARM_UP_GROUPS)
        meter = CpuMeter({POSTGRES: place.postgres.process, KAFKA: place.kafka.process})
        await _carry(path, WARM_UP_GROUPS, GROUPS)
        cpu = meter.microseconds(GROUPS * TOGETHER)
        alone = await _alone(path)
    whole_us = sum(cpu.values()) + sum(bare_cpu.values())
    cpus = len(psutil.Process().cpu_affinity())
    figures = {
        "bound": cpus * 1e6 / whole_us / bare.per_second,
        "whole_us": whole_us,
        "alone_p50_ms": percentile_ms(alone, 50),
        "bare_per_s": bare.per_second,
    }
    return Round(figures, {"baseline": bare_cpu, "bare path": cpu})


async def _carry(path: BarePath, first: int, groups: int) -> None:
    for group in range(first, first + groups):
        numbers = range(group * TOGETHER, (group + 1) * TOGETHER)
        await path.carry([_event(number) for number in numbers])


async def _alone(path: BarePath) -> list[float]:
    """Seconds that each took."""
    took = []
    first = (WARM_UP_GROUPS + GROUPS) * TOGETHER
    for number in range(first, first + ALONE_EVENTS):
        await asyncio.sleep(1 / ALONE_PER_SECOND)
        start = time.perf_counter()
        await path.carry([_event(number)])
        took.append(time.perf_counter() - start)
    return took


def _event(number: int) -> tuple[str, str]:
    return str(number), event("bare-path", number, f"device-{number % DEVICES}")


LIMITS = Comparison(
    "limits",
    "what the machine allows",
    [Shown("bound"), Shown("whole_us"), Shown("alone_p50_ms")],
    measure,
)
