"""What access control costs: the same loads on a system without it and on a system with AUTH=keys, in turn.

Both systems run all the time, and are loaded in turn: without, with, without, with, … without. Each load with keys
is compared with the mean of the loads before and after it, so that a machine that becomes slower favours neither.
The keys are made by the command of the product, and may write and read everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from statistics import mean, median
from typing import NamedTuple

import aiohttp
import msgspec

from benchmarks.check import check_everything
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.get_row import PATH, check_answer
from benchmarks.place import CONNECTIONS, Place
from benchmarks.posts import TWO_WORKERS, load_until_projected
from benchmarks.singles import SINGLES
from benchmarks.system import System, Worker
from benchmarks.wrk import RoundFailedError, run_wrk

SECONDS = 4.0
TURNS = 3
"""Loads with keys in a round, each between two without."""
ANSWER_SECONDS = 10
KEPT_AT_LEAST = 0.97


class MadeKey(msgspec.Struct):
    """Of what `keys create --json` prints."""

    key: str


class Sample(NamedTuple):
    """What came of a load."""

    per_second: float
    worker_us: float
    """CPU microseconds of the loaded worker for each request."""
    cpu: dict[str, float]


@dataclass
class Side:
    """A system with its workers, with keys or without."""

    system: System
    ingestion: Worker
    query: Worker
    accepted: int = 0
    unanswered: int = 0
    """At most so many more events may have been written."""

    async def post(self, run: str, *, seconds: float) -> Sample:
        """Single posts, until they are projected."""
        loaded = await load_until_projected(self.system, self.ingestion, SINGLES, seconds, run=run)
        self.accepted += loaded.accepted
        self.unanswered += loaded.unanswered
        return Sample(loaded.projected_per_s, loaded.cpu[next(iter(TWO_WORKERS))], loaded.cpu)

    async def get(self, _run: str, *, seconds: float) -> Sample:
        """GETs of a row."""
        meter, url, headers = self.system.cpu_meter(), self.query.query + PATH, self.query.headers
        result = await run_wrk(url, "get.lua", connections=CONNECTIONS, seconds=seconds, headers=headers)
        cpu = meter.microseconds(result.requests)
        return Sample(result.per_second, cpu[list(TWO_WORKERS)[-1]], cpu)

    async def check(self) -> None:
        """Raises RoundFailedError unless every event and the row that was read came out right."""
        await check_everything(self.system.connection, accepted=self.accepted, unanswered=self.unanswered)
        await check_answer(self.system, self.query)


async def measure(place: Place, options: Options) -> Round:
    """Posts in turn, then GETs in turn."""
    seconds = options.seconds or SECONDS
    async with place.system() as without, place.system() as guarded:
        sides = (await _open(without), await _guarded(guarded))
        posts = await _in_turn(sides, partial(Side.post, seconds=seconds))
        for side in sides:
            await side.check()
        gets = await _in_turn(sides, partial(Side.get, seconds=seconds))
        for side in sides:
            await side.check()
    loads = {"posts": posts, "gets": gets}
    figures = {f"{load}_{name}": value for load, of in loads.items() for name, value in compared(of).items()}
    cpu = {
        f"{load} {name}": _mean_cpu(of[first::2])
        for load, of in loads.items()
        for first, name in enumerate(("without keys", "with keys"))
    }
    return Round(figures, cpu)


def compared(samples: Sequence[Sample]) -> dict[str, float]:
    """What is left of the rate with keys, with its spread, and how much more CPU a request takes.

    The samples alternate, and begin and end without keys.
    """
    turns = [(samples[at], samples[at - 1], samples[at + 1]) for at in range(1, len(samples), 2)]
    kept = [one.per_second / mean((before.per_second, after.per_second)) for one, before, after in turns]
    more_us = [one.worker_us - mean((before.worker_us, after.worker_us)) for one, before, after in turns]
    without_us = mean(sample.worker_us for sample in samples[::2])
    return {
        "kept": median(kept),
        "kept_least": min(kept),
        "kept_most": max(kept),
        "more_cpu_us": median(more_us),
        "more_cpu_percent": median(more_us) / without_us * 100,
        "without_per_s": mean(sample.per_second for sample in samples[::2]),
        "with_per_s": mean(sample.per_second for sample in samples[1::2]),
    }


async def _in_turn(sides: tuple[Side, Side], load: Callable[[Side, str], Awaitable[Sample]]) -> list[Sample]:
    """Without, with, without, …"""
    return [await load(sides[turn % 2], f"turn-{turn}") for turn in range(2 * TURNS + 1)]


async def _open(system: System, **settings: str) -> Side:
    ingestion, query = [await system.start(kind, services, **settings) for kind, services in TWO_WORKERS.items()]
    if settings:
        made = await system.command("keys", "create", "bench", "--scopes", "write,read", "--json")
        key = msgspec.json.decode(made, type=MadeKey).key
        for worker in (ingestion, query):
            worker.headers["Authorization"] = f"Bearer {key}"
    return Side(system, ingestion, query, accepted=await system.warm_up(ingestion))


async def _guarded(system: System) -> Side:
    """With AUTH=keys. Raises RoundFailedError if a request without a key is answered."""
    side = await _open(system, AUTH="keys")
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(side.query.query + PATH) as response:
        if response.status != HTTPStatus.UNAUTHORIZED:
            raise RoundFailedError(f"without a key, {PATH} was answered with {response.status}")
    return side


def _mean_cpu(samples: Sequence[Sample]) -> dict[str, float]:
    return {kind: round(mean(one.cpu[kind] for one in samples), 1) for kind in samples[0].cpu}


ACCESS = Comparison(
    "access",
    "with AUTH=keys, against without",
    [
        *(Shown(f"{load}_kept", at_least=KEPT_AT_LEAST) for load in ("posts", "gets")),
        *(Shown(f"{load}_more_cpu_{unit}") for load in ("posts", "gets") for unit in ("us", "percent")),
    ],
    measure,
)
