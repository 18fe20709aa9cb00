"""`python -m benchmarks.bare_pipeline`: the bare path behind the bare server, as a system that runs.

Posts that come together share an insert and are answered after it; what was taken is moved and published in rounds;
what was read is applied; GETs of rows that come together share a look. One process does it all, or two share it, as
with Headrace's services.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack

import uvloop
from aiohttp import web

from benchmarks.bare_path import BareHandler, BareIntake, BareWay, decode, open_handler, open_intake


class Pipeline:
    """Its loops, and its views."""

    def __init__(self, *, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._waiting: list[tuple[str, str, asyncio.Future[None]]] = []
        self._came = asyncio.Event()
        self._taken = asyncio.Event()
        self._applied = 0
        self._wanted: list[tuple[str, asyncio.Future[str]]] = []
        self._is_wanted = asyncio.Event()

    def application(self) -> web.Application:
        """`POST /api/v1/events`, `GET /rows/<key>`; `GET /` tells how many events were applied."""
        application = web.Application()
        application.add_routes(
            [web.post("/api/v1/events", self._post), web.get("/rows/{key}", self._get), web.get("/", self._tell)]
        )
        return application

    async def take(self, intake: BareIntake) -> None:
        """Insert the events that arrived during the previous insert, until cancelled."""
        while await self._came.wait():
            self._came.clear()
            together, self._waiting = self._waiting, []
            await intake.take([(event_id, text) for event_id, text, _ in together])
            for _, _, answer in together:
                if not answer.done():
                    answer.set_result(None)
            self._taken.set()

    async def move(self, intake: BareIntake) -> None:
        """Move and publish accepted events until cancelled; after a round, wait for more to accumulate."""
        while await self._taken.wait():
            self._taken.clear()
            while texts := await intake.move():
                await intake.publish(texts)
                await asyncio.sleep(self._pause_seconds)

    async def apply(self, handler: BareHandler) -> None:
        """Apply the records that can be read, until cancelled."""
        while True:
            if records := await handler.read():
                await handler.apply(records)
                self._applied += len(records)

    async def look_up(self, handler: BareHandler) -> None:
        """Read the rows that were requested during the previous read, until cancelled."""
        while await self._is_wanted.wait():
            self._is_wanted.clear()
            together, self._wanted = self._wanted, []
            states = await handler.look_up([key for key, _ in together])
            for key, answer in together:
                if not answer.done():
                    answer.set_result(states[key])

    async def _post(self, request: web.Request) -> web.Response:
        text = await request.text()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((decode(text).id, text, answer))
        self._came.set()
        await answer
        return web.Response(body=b'{"status":"accepted"}', status=202, content_type="application/json")

    async def _get(self, request: web.Request) -> web.Response:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._wanted.append((request.match_info["key"], answer))
        self._is_wanted.set()
        return web.Response(body=(await answer).encode(), content_type="application/json")

    async def _tell(self, _: web.Request) -> web.Response:
        return web.json_response(self._applied)


async def run(arguments: argparse.Namespace) -> None:
    """Until the process is ended, or a part fails."""
    way = BareWay(arguments.dsn, arguments.bootstrap_servers, arguments.topic)
    pipeline = Pipeline(pause_seconds=arguments.pause_ms / 1000)
    parts: list[Awaitable[None]] = []
    async with AsyncExitStack() as stack:
        if "intake" in arguments.halves:
            intake = await stack.enter_async_context(open_intake(way))
            parts += [pipeline.take(intake), pipeline.move(intake)]
        if "handler" in arguments.halves:
            handler = await stack.enter_async_context(open_handler(way))
            parts += [pipeline.apply(handler), pipeline.look_up(handler)]
        runner = web.AppRunner(pipeline.application(), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
        await asyncio.gather(*parts)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_pipeline", description=__doc__)
    for name in ("dsn", "bootstrap-servers", "topic"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pause-ms", type=float, required=True, help="after a round of moving and publishing")
    parser.add_argument("halves", nargs="+", choices=["intake", "handler"])
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(run(read_arguments()))
