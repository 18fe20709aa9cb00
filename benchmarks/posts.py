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


async def measure_posts(place: Place, options: Options, *, load: Load, workers: Mapping[str, str]) -> Round:
    """One round: the bare server, then a system with these workers."""
    seconds = options.seconds or SECONDS
    bare, bare_cpu = await place.bare_posts(seconds)
    async with place.system() as system:
        started = [await system.start(kind, services) for kind, services in workers.items()]
        await system.warm_up(started[0])
        figures, cpu = await _until_projected(system, started[0], load, seconds)
    ratio = figures["projected_per_s"] / bare.per_second
    return Round({RATIO: ratio, **figures, "bare_per_s": bare.per_second}, {"baseline": bare_cpu, "system": cpu})


async def _until_projected(
    system: System, worker: Worker, load: Load, seconds: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and CPU microseconds an event. Raises RoundFailedError unless every event came out right."""
    before = await system.last_position()
    meter = system.cpu_meter()
    url = f"{worker.ingestion}/api/v1/events"
    result = await run_wrk(url, load.script, "run", load.content_type, connections=load.connections, seconds=seconds)
    answered = time.perf_counter()
    accepted = result.requests * load.events_a_post
    await system.until_projected(before + accepted)
    behind = time.perf_counter() - answered
    cpu = meter.microseconds(accepted)
    # wrk leaves without waiting for the last answer of each connection.
    unanswered = load.connections * load.events_a_post
    await check_everything(system.connection, accepted=before + accepted, unanswered=unanswered)
    return {
        "projected_per_s": accepted / (result.seconds + behind),
        "accepted_per_s": accepted / result.seconds,
        "projected_after_load_ms": behind * 1000,
        "accept_p50_ms": result.p50_us / 1000,
        "accept_p99_ms": result.p99_us / 1000,
    }, cpu
