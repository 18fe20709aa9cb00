"""All comparisons, in the order in which a round runs them."""

from __future__ import annotations

from benchmarks.access import ACCESS
from benchmarks.backlog import BACKLOG
from benchmarks.batches import BATCHES
from benchmarks.comparison import Comparison
from benchmarks.cores import CORES
from benchmarks.faust_cost import FAUST_COST
from benchmarks.get_row import GET_ROW
from benchmarks.growth import GROWTH
from benchmarks.limits import LIMITS
from benchmarks.mqtt import MQTT
from benchmarks.projector import PROJECTOR
from benchmarks.relay import RELAY
from benchmarks.relay_latency import RELAY_LATENCY
from benchmarks.singles import SINGLES_ONE_WORKER, SINGLES_TWO_WORKERS
from benchmarks.visible import VISIBLE

COMPARISONS: tuple[Comparison, ...] = (
    LIMITS,
    SINGLES_TWO_WORKERS,
    SINGLES_ONE_WORKER,
    BATCHES,
    GET_ROW,
    ACCESS,
    VISIBLE,
    PROJECTOR,
    BACKLOG,
    RELAY,
    RELAY_LATENCY,
    GROWTH,
    CORES,
    FAUST_COST,
    MQTT,
)
