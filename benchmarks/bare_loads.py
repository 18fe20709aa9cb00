"""The bare pipeline under the loads of `singles`, `get_row` and `visible`: what one without duties reaches here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import msgspec

from app.embedded.ports import free_port
from tables.database import Connection

from benchmarks.bare_path import make_way
from benchmarks.cpu import CpuMeter
from benchmarks.place import CONNECTIONS, KAFKA, NO_PORT, POSTGRES, Place
from benchmarks.processes import Running, python
from benchmarks.visible import POSTS_PER_SECOND, see_visible
from benchmarks.wrk import RoundFailedError, WrkResult, run_wrk

WARM_UP_SECONDS = 2.0
VISIBLE_WARM_UP_EVENTS = 2_000
POLL_SECONDS = 0.01
STUCK_SECONDS = 30.0
# After a round of moving and publishing, as our relay at these loads.
SINGLES_PAUSE_MS = 50
VISIBLE_PAUSE_MS = 4
FOUND = "SELECT key FROM rows WHERE projection = 'devices' AND key = ANY ($1::text[])"

ONE_PROCESS = {"bare pipeline": ("intake", "handler")}
TWO_PROCESSES = {"bare intake": ("intake",), "bare handler": ("handler",)}


class Pipeline(msgspec.Struct):
    """The bare pipeline, running."""

    intake_port: int
    handler_port: int
    connection: Connection
    meter: CpuMeter

    async def applied(self) -> int:
        """How many events were applied."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.handler_port}/") as answer,
        ):
            return int(await answer.text())

    async def until_applied(self, events: int) -> None:
        """Wait until this many events are applied. Raises RoundFailedError when the time is up."""
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                while await self.applied() < events:  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            reason = f"bare pipeline: {events} events are not applied after {STUCK_SECONDS:.0f} s"
            raise RoundFailedError(reason) from error


class Loaded(msgspec.Struct):
    """What came of two processes under load."""

    posts_per_second: float
    """From the first post until the last event is applied."""
    gets_per_second: float
    posts_cpu: dict[str, float]
    """CPU microseconds an event, by kind of process."""
    gets_cpu: dict[str, float]


async def posts_and_gets(place: Place, seconds: float) -> Loaded:
    """Single posts, then GETs of a row, over 64 connections each, in two processes."""
    async with _running(place, TWO_PROCESSES, pause_ms=SINGLES_PAUSE_MS) as pipeline:
        before = (await _load(pipeline, "warm-up", WARM_UP_SECONDS)).requests
        await pipeline.until_applied(before)
        before, meter = await pipeline.applied(), pipeline.meter.again()
        posts = await _load(pipeline, "run", seconds)
        answered = time.perf_counter()
        await pipeline.until_applied(before + posts.requests)
        behind = time.perf_counter() - answered
        posts_cpu, meter = meter.microseconds(posts.requests), pipeline.meter.again()
        url = f"http://127.0.0.1:{pipeline.handler_port}/rows/device-1"
        gets = await run_wrk(url, "get.lua", connections=CONNECTIONS, seconds=seconds)
        gets_cpu = meter.microseconds(gets.requests)
        return Loaded(posts.requests / (posts.seconds + behind), gets.per_second, posts_cpu, gets_cpu)


async def visible(place: Place, seconds: float) -> tuple[list[float], dict[str, float]]:
    """Seconds from when a post was due until its row was seen, in one process; CPU microseconds an event."""
    events = int(POSTS_PER_SECOND * seconds)
    async with _running(place, ONE_PROCESS, pause_ms=VISIBLE_PAUSE_MS) as pipeline:
        port, connection = pipeline.intake_port, pipeline.connection
        await see_visible(connection, FOUND, port, "warm-up", VISIBLE_WARM_UP_EVENTS, per_second=POSTS_PER_SECOND)
        meter = pipeline.meter.again()
        seen, _ = await see_visible(connection, FOUND, port, "run", events, per_second=POSTS_PER_SECOND)
        return seen, meter.microseconds(events)


async def _load(pipeline: Pipeline, run: str, seconds: float) -> WrkResult:
    url = f"http://127.0.0.1:{pipeline.intake_port}/api/v1/events"
    return await run_wrk(url, "post.lua", run, "application/cloudevents+json", connections=CONNECTIONS, seconds=seconds)


@asynccontextmanager
async def _running(place: Place, processes: Mapping[str, Sequence[str]], *, pause_ms: int) -> AsyncIterator[Pipeline]:
    async with make_way(place) as (way, connection), AsyncExitStack() as stack:
        ports, started = [], {}
        for kind, halves in processes.items():
            port = free_port(but=NO_PORT)
            where = ("--dsn", way.dsn, "--bootstrap-servers", way.bootstrap_servers, "--topic", way.topic)
            how = ("--port", str(port), "--pause-ms", str(pause_ms), *halves)
            log = place.folder / f"{way.topic}-{kind.replace(' ', '-')}.log"
            process = Running(python("-m", "benchmarks.bare_pipeline", *where, *how), log)
            stack.push_async_callback(process.stop)
            await process.answers(f"http://127.0.0.1:{port}/")
            ports.append(port)
            started[kind] = process.measured
        meter = CpuMeter({**started, POSTGRES: place.postgres.process, KAFKA: place.kafka.process})
        yield Pipeline(ports[0], ports[-1], connection, meter)
