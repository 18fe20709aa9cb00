"""Posts until they are projected, against single posts to the bare server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.check import check_everything
from benchmarks.comparison import RATIO, Options, Round
from benchmarks.place import Place
from benchmarks.system import System, Worker
from benchmarks.wrk import run_wrk

SECONDS = 5.0
DEVICES = 1_000
# The services of each worker; the first takes the posts.
ONE_WORKER = {"worker": "ingestion,event_handler,query"}
TWO_WORKERS = {"ingestion worker": "ingestion", "event handler worker": "event_handler,query"}


@dataclass(frozen=True)
class Load:
    """What wrk posts."""

    script: str
    content_type: str
    events_a_post: int
    connections: int


@dataclass(frozen=True)
class Loaded:
    """What came of a load that was projected."""

    accepted: int
    unanswered: int
    """At most so many more may have been written: wrk leaves without waiting for the last answers."""
    seconds: float
    """From the first post to the end of the load."""
    behind_seconds: float
    """From then until all was projected."""
    p50_us: int
    p99_us: int
    cpu: dict[str, float]

    @property
    def projected_per_s(self) -> float:
        """Events a second from the first post until the last one is projected."""
        return self.accepted / (self.seconds + self.behind_seconds)


async def measure_posts(place: Place, options: Options, *, load: Load, workers: Mapping[str, str]) -> Round:
    """One round: the bare server, then a system with these workers. Raises RoundFailedError unless all is right."""
    seconds = options.seconds or SECONDS
    bare, bare_cpu = await place.bare_posts(seconds)
    async with place.system() as system:
        started = [await system.start(kind, services) for kind, services in workers.items()]
        before = await system.warm_up(started[0])
        loaded = await load_until_projected(system, started[0], load, seconds)
        await check_everything(system.connection, accepted=before + loaded.accepted, unanswered=loaded.unanswered)
    figures = {
        RATIO: loaded.projected_per_s / bare.per_second,
        "projected_per_s": loaded.projected_per_s,
        "accepted_per_s": loaded.accepted / loaded.seconds,
        "projected_after_load_ms": loaded.behind_seconds * 1000,
        "accept_p50_ms": loaded.p50_us / 1000,
        "accept_p99_ms": loaded.p99_us / 1000,
        "bare_per_s": bare.per_second,
    }
    return Round(figures, {"baseline": bare_cpu, "system": loaded.cpu})


async def load_until_projected(
    system: System, worker: Worker, load: Load, seconds: float, *, run: str = "run", devices: int = DEVICES
) -> Loaded:
    """Load and return when all is projected; it is still to be checked. `run` has not been used on this system."""
    before = await system.last_position()
    meter = system.cpu_meter()
    url = f"{worker.ingestion}/api/v1/events"
    arguments = (run, load.content_type, str(devices))
    result = await run_wrk(
        url, load.script, *arguments, connections=load.connections, seconds=seconds, headers=worker.headers
    )
    answered = time.perf_counter()
    accepted = result.requests * load.events_a_post
    await system.until_projected(before + accepted)
    behind = time.perf_counter() - answered
    cpu, unanswered = meter.microseconds(accepted), load.connections * load.events_a_post
    return Loaded(accepted, unanswered, result.seconds, behind, result.p50_us, result.p99_us, cpu)
