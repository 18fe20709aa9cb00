"""The baseline: aiohttp on uvloop that parses the JSON of a POST, and answers a GET with a fixed row; nothing else."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import uvloop
from aiohttp import web

ROW = (
    b'{"projection":"devices","key":"device-1","position":1,"version":1,"updated_at":"2026-11-22T12:00:00Z","state":{}}'
)


async def post_event(request: web.Request) -> web.Response:
    msgspec.json.decode(await request.read())
    return web.Response(body=b'{"status":"accepted"}', status=202, content_type="application/json")


async def get_row(_: web.Request) -> web.Response:
    return web.Response(body=ROW, content_type="application/json")


async def serve(port: int) -> None:
    application = web.Application()
    application.add_routes([web.post("/api/v1/events", post_event), web.get("/{tail:.*}", get_row)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
