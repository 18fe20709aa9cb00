"""GET of one row over 64 connections, against the bare server's GET."""

from __future__ import annotations

import json

import aiohttp

from benchmarks.check import check_everything
from benchmarks.comparison import RATIO, Comparison, Options, Round, Shown
from benchmarks.place import CONNECTIONS, Place, load_bare
from benchmarks.system import System, Worker
from benchmarks.wrk import RoundFailedError, run_wrk

SECONDS = 5.0
PATH = "/api/v1/projections/devices/device-1"
STATE = "SELECT state::text FROM projections WHERE projection = 'devices' AND key = 'device-1'"


async def measure(place: Place, options: Options) -> Round:
    """Ingestion in one worker; event handler and query, which is loaded, in another."""
    seconds = options.seconds or SECONDS
    async with place.bare_server() as bare:
        baseline, bare_cpu = await load_bare(bare, PATH, "get.lua", seconds)
    async with place.system() as system:
        ingestion = await system.start("ingestion worker", "ingestion")
        worker = await system.start("event handler worker", "event_handler,query")
        events = await system.warm_up(ingestion)
        await check_everything(system.connection, accepted=events)
        await check_answer(system, worker)
        meter = system.cpu_meter()
        result = await run_wrk(worker.query + PATH, "get.lua", connections=CONNECTIONS, seconds=seconds)
        cpu = meter.microseconds(result.requests)
        await check_answer(system, worker)
    figures = {
        RATIO: result.per_second / baseline.per_second,
        "answered_per_s": result.per_second,
        "p50_ms": result.p50_us / 1000,
        "p99_ms": result.p99_us / 1000,
        "bare_per_s": baseline.per_second,
    }
    return Round(figures, {"baseline": bare_cpu, "system": cpu})


async def check_answer(system: System, worker: Worker) -> None:
    """Raises RoundFailedError unless the worker answers with the row that is in the table."""
    state = json.loads(await system.connection.fetchval(STATE))
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=worker.headers) as session,
        session.get(worker.query + PATH) as response,
    ):
        answer = await response.json()
    if answer.get("state") != state:
        raise RoundFailedError(f"{PATH} was answered with {answer}; its state in the table is {state}")


GET_ROW = Comparison("get_row", "GET of a row", [Shown(RATIO, at_least=0.7)], measure)
