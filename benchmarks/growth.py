"""The same loads on an empty system and on one with a past (benchmarks/grown.py): what is left of the rates.

`singles`, `batches` and `get` are the loads of those comparisons, on 1,000 devices, which in the grown system are
spread over all pages of the tables. `spread` is batches over all devices: on the empty system these make new rows, on
the grown one they update existing rows; it has no target. Two workers; all loads follow each other on one system.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.batches import BATCHES_OF_500
from benchmarks.check import check_everything
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.get_row import PATH
from benchmarks.grown import EVENTS_A_DEVICE, check_grown, end_topic_as_stored, grown_database
from benchmarks.place import CONNECTIONS, Place
from benchmarks.posts import TWO_WORKERS, load_until_projected
from benchmarks.singles import SINGLES
from benchmarks.system import System
from benchmarks.wrk import run_wrk

SECONDS = 4.0
LOADS = {"singles": SINGLES, "batches": BATCHES_OF_500, "spread": BATCHES_OF_500}
USUAL_DEVICES = 1_000


async def measure(place: Place, options: Options) -> Round:
    """Empty, then grown; every row that was touched is checked."""
    devices = max(USUAL_DEVICES, options.growth_events // EVENTS_A_DEVICE)
    past = devices * EVENTS_A_DEVICE
    async with place.system() as system:
        empty = await _load(system, options, devices)
        await check_everything(system.connection, accepted=empty.accepted, unanswered=empty.unanswered)
    async with place.system(like=await grown_database(place, devices)) as system:
        await end_topic_as_stored(place, system)
        grown = await _load(system, options, devices)
        await check_grown(system.connection, past=past, accepted=grown.accepted, unanswered=grown.unanswered)
    return Round(
        {
            **{f"{name}_kept": grown.rates[name] / empty.rates[name] for name in empty.rates},
            **{f"empty_{name}_per_s": rate for name, rate in empty.rates.items()},
            **{f"grown_{name}_per_s": rate for name, rate in grown.rates.items()},
        },
        {
            f"{kind} {name}": cpu[name]
            for name in empty.cpu
            for kind, cpu in (("empty", empty.cpu), ("grown", grown.cpu))
        },
    )


@dataclass
class Loads:
    """What came of all loads of a system."""

    rates: dict[str, float] = field(default_factory=dict)
    """Events, or answers, a second."""
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)
    accepted: int = 0
    unanswered: int = 0
    """At most so many more may have been written."""


async def _load(system: System, options: Options, devices: int) -> Loads:
    seconds = options.seconds or SECONDS
    ingestion, handler = [await system.start(kind, services) for kind, services in TWO_WORKERS.items()]
    done = Loads(accepted=await system.warm_up(ingestion))
    for name, load in LOADS.items():
        spread_over = devices if name == "spread" else USUAL_DEVICES
        loaded = await load_until_projected(system, ingestion, load, seconds, run=name, devices=spread_over)
        done.rates[name], done.cpu[name] = loaded.projected_per_s, loaded.cpu
        done.accepted += loaded.accepted
        done.unanswered += loaded.unanswered
    meter = system.cpu_meter()
    result = await run_wrk(handler.query + PATH, "get.lua", connections=CONNECTIONS, seconds=seconds)
    done.rates["get"], done.cpu["get"] = result.per_second, meter.microseconds(result.requests)
    return done


GROWTH = Comparison(
    "growth",
    "with a past, against empty",
    [
        *(Shown(f"{name}_kept", at_least=0.9) for name in ("singles", "batches", "get")),
        Shown("spread_kept"),
    ],
    measure,
)
