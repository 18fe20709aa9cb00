"""1,000 posts a second, come what may (open loop): how long until the answer, and until the event is projected."""

from __future__ import annotations

import asyncio
import time

from tables.database import Connection

from benchmarks.check import check_everything
from benchmarks.comparison import Comparison, Options, Round, Shown
from benchmarks.open_loop import Posting, percentile_ms
from benchmarks.place import Place
from benchmarks.posts import DEVICES
from benchmarks.system import STUCK_SECONDS
from benchmarks.wrk import RoundFailedError

SECONDS = 20.0
POSTS_PER_SECOND = 1_000
# Every so manieth event has a device of its own, whose row is looked for.
PROBE_EVERY = 20
PROBE = "probe-"
# Before that, one at a time, each with a device of its own.
ALONE_EVENTS = 100
ALONE_PER_SECOND = 20
LOOK_SECONDS = 0.001
FOUND = "SELECT key FROM projections WHERE projection = 'devices' AND key = ANY ($1::text[])"


class Probes:
    """Every so manieth event of a run has a device of its own. Looks for their rows: one small query by key, every
    millisecond at most."""

    def __init__(self, connection: Connection, found: str, run: str, *, events: int, every: int) -> None:
        """`found`: the query for the keys that have rows."""
        self.visible: list[float] = []
        self._connection = connection
        self._found = found
        self._run = run
        self._every = every
        self._expected = len(range(0, events, every))
        self._waiting: dict[str, float] = {}
        self._sent = asyncio.Event()

    def device_of(self, number: int) -> str:
        """The device of an event."""
        return f"{PROBE}{self._run}-{number}" if number % self._every == 0 else f"device-{number % DEVICES}"

    def posted(self, number: int, due: float) -> None:
        """Note a probe; other events are none."""
        if number % self._every == 0:
            self._waiting[self.device_of(number)] = due
            self._sent.set()

    async def look(self) -> None:
        """Returns when all probes were seen. Raises TimeoutError when none is sent or seen for long."""
        while len(self.visible) < self._expected:
            async with asyncio.timeout(STUCK_SECONDS):
                await self._sent.wait()
                await self._see_some()

    async def _see_some(self) -> None:
        find = self._connection.fetch
        while not (rows := await find(self._found, list(self._waiting))):  # noqa: ASYNC110 - the database's state
            await asyncio.sleep(LOOK_SECONDS)
        now = time.perf_counter()
        self.visible += [now - self._waiting.pop(row["key"]) for row in rows]
        if not self._waiting:
            self._sent.clear()


async def measure(place: Place, options: Options) -> Round:
    """Everything in one worker, as `make run` starts it; the same posts to the bare server before."""
    events = int(POSTS_PER_SECOND * (options.seconds or SECONDS))
    bare_loop = Posting("bare", lambda number: f"device-{number % DEVICES}")
    async with place.bare_server() as bare:
        await bare_loop.run(bare.port, events, per_second=POSTS_PER_SECOND)
    async with place.system() as system:
        worker = await system.start("worker", "ingestion,event_handler,query")
        before = await system.warm_up(worker)
        connection, port = system.connection, worker.ingestion_port
        alone, _ = await see_visible(
            connection, FOUND, port, "alone", ALONE_EVENTS, per_second=ALONE_PER_SECOND, every=1
        )
        meter = system.cpu_meter()
        visible, loop = await see_visible(connection, FOUND, port, "run", events, per_second=POSTS_PER_SECOND)
        await system.until_projected(before + ALONE_EVENTS + events)
        cpu = meter.microseconds(events)
        await check_everything(system.connection, accepted=before + ALONE_EVENTS + events)
    return Round(
        {
            "visible_p50_ms": percentile_ms(visible, 50),
            "visible_p99_ms": percentile_ms(visible, 99),
            "alone_p50_ms": percentile_ms(alone, 50),
            "accept_p50_ms": percentile_ms(loop.accepted, 50),
            "accept_p99_ms": percentile_ms(loop.accepted, 99),
            "client_late_p99_ms": percentile_ms(loop.late, 99),
            "bare_accept_p50_ms": percentile_ms(bare_loop.accepted, 50),
            "bare_accept_p99_ms": percentile_ms(bare_loop.accepted, 99),
        },
        {"system": cpu},
    )


async def see_visible(
    connection: Connection, found: str, port: int, run: str, events: int, *, per_second: float, every: int = PROBE_EVERY
) -> tuple[list[float], Posting]:
    """Post, and poll for the probes with the query `found`: how long until each is visible, and the posts' results."""
    probes = Probes(connection, found, run, events=events, every=every)
    loop = Posting(run, probes.device_of, probes.posted)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(loop.run(port, events, per_second=per_second))
            tasks.create_task(probes.look())
    except ExceptionGroup as errors:
        raise RoundFailedError(f"polling for probes failed: {errors.exceptions[0]!r}") from errors
    return probes.visible, loop


VISIBLE = Comparison(
    "visible",
    "1,000 posts a second",
    [
        Shown("visible_p50_ms", at_most=10),
        Shown("visible_p99_ms", at_most=40),
        Shown("alone_p50_ms"),
        Shown("accept_p50_ms"),
        Shown("accept_p99_ms"),
        Shown("bare_accept_p99_ms"),
    ],
    measure,
)
