"""What this machine allows any pipeline of this kind: the bare path, and the bare server before it.

`bound` is the ratio that a system would reach which uses all CPUs without a pause and does nothing beyond the bare path
(60 events at a time, about what the load of `singles` makes of itself) behind the bare server; `batches_bound` that of
the bare path alone, 500 events at a time. `alone_p50_ms` is the bare path of one event at 20 a second, from the insert
until three projections are committed; no HTTP. The others are those of a system that runs, the bare pipeline: the bare
path behind the bare server, under the loads of `singles_two_workers`, of `get_row` and of `visible`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import NamedTuple

import psutil

from benchmarks import bare_loads
from benchmarks.bare_path import carry, make_way, open_handler, open_intake
from benchmarks.client import event
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.cpu import CpuMeter
from benchmarks.open_loop import percentile_ms
from benchmarks.place import KAFKA, POSTGRES, Place, load_bare
from benchmarks.posts import DEVICES, SECONDS

TOGETHER = 60
GROUPS = 400
BATCH = 500
BATCHES = 60
WARM_UP_GROUPS = 100
ALONE_EVENTS = 100
ALONE_PER_SECOND = 20


async def measure(place: Place, options: Options) -> Round:
    """The bare server; the bare path, many events together and one at a time; the bare pipeline under both loads."""
    seconds = options.seconds or SECONDS
    bare, bare_cpu = await place.bare_posts(seconds)
    async with place.bare_server() as server:
        bare_gets, _ = await load_bare(server, "/", "get.lua", seconds)
    path = await _bare_path(place)
    loaded = await bare_loads.posts_and_gets(place, seconds)
    seen, visible_cpu = await bare_loads.visible(place, seconds)
    whole_us = sum(path.together.values()) + sum(bare_cpu.values())
    all_us = 1e6 * len(psutil.Process().cpu_affinity())
    figures = {
        "bound": all_us / whole_us / bare.per_second,
        "batches_bound": all_us / sum(path.batches.values()) / bare.per_second,
        "whole_us": whole_us,
        "alone_p50_ms": percentile_ms(path.alone, 50),
        "pipeline_ratio": loaded.posts_per_second / bare.per_second,
        "pipeline_per_s": loaded.posts_per_second,
        "pipeline_get_ratio": loaded.gets_per_second / bare_gets.per_second,
        "pipeline_p50_ms": percentile_ms(seen, 50),
        "pipeline_p99_ms": percentile_ms(seen, 99),
        "bare_per_s": bare.per_second,
    }
    used = {
        "bare path": path.together,
        "bare path, batches": path.batches,
        "bare pipeline, posts": loaded.posts_cpu,
        "bare pipeline, gets": loaded.gets_cpu,
        "bare pipeline, visible": visible_cpu,
    }
    return Round(figures, {"baseline": bare_cpu, **used})


class _BarePath(NamedTuple):
    alone: list[float]
    """Seconds that one event alone takes."""
    together: dict[str, float]
    """CPU microseconds an event of TOGETHER."""
    batches: dict[str, float]
    """The same, of BATCH."""


async def _bare_path(place: Place) -> _BarePath:
    numbers = itertools.count()
    servers = {POSTGRES: place.postgres.process, KAFKA: place.kafka.process}
    async with make_way(place) as (way, _), open_intake(way) as intake, open_handler(way) as handler:

        async def carry_groups(groups: int, size: int) -> dict[str, float]:
            meter = CpuMeter(servers)
            for _ in range(groups):
                await carry(intake, handler, [_event(next(numbers)) for _ in range(size)])
            return meter.microseconds(groups * size)

        await carry_groups(WARM_UP_GROUPS, TOGETHER)
        together = await carry_groups(GROUPS, TOGETHER)
        batches = await carry_groups(BATCHES, BATCH)
        alone = []
        for _ in range(ALONE_EVENTS):
            await asyncio.sleep(1 / ALONE_PER_SECOND)
            start = time.perf_counter()
            await carry(intake, handler, [_event(next(numbers))])
            alone.append(time.perf_counter() - start)
    return _BarePath(alone, together, batches)


def _event(number: int) -> tuple[str, str]:
    return str(number), event("bare-path", number, f"device-{number % DEVICES}")


LIMITS = Comparison(
    "limits",
    "what the machine allows",
    [
        Shown("bound"),
        Shown("batches_bound"),
        Shown("whole_us"),
        Shown("alone_p50_ms"),
        Shown("pipeline_ratio"),
        Shown("pipeline_get_ratio"),
        Shown("pipeline_p50_ms"),
        Shown("pipeline_p99_ms"),
    ],
    measure,
)
