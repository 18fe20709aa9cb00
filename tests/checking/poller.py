"""A reader that asks for rows all the time and writes down what it saw, for I11: reads never go back."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from urllib.parse import quote

import aiohttp
from yarl import URL

from tests.checking.history import Read
from tests.support.clients.way_in import PLAIN, WayIn

PAUSE_SECONDS = 0.02
REQUEST_SECONDS = 5.0


class Poller:
    """Asks one query service for some rows in turn until it is stopped. A service that is away is asked again."""

    def __init__(self, name: str, address: str, rows: Sequence[tuple[str, str]], *, way_in: WayIn = PLAIN) -> None:
        """`rows`: (projection, key)."""
        self._way_in = way_in
        self.reads: list[Read] = []
        self.failed = 0
        """Requests that were not answered 200, 404 for a row that is not there yet aside."""
        self._name = name
        self._address = address
        self._rows = rows
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._running = asyncio.create_task(self._poll())

    async def stop(self) -> list[Read]:
        """End, and return what was read."""
        self._stopping.set()
        if self._running is not None:
            await self._running
        return self.reads

    async def _poll(self) -> None:
        async with self._way_in.session(REQUEST_SECONDS) as http:
            for projection, key in itertools.cycle(self._rows):
                if self._stopping.is_set():
                    return
                try:
                    await self._read(http, projection, key)
                except (aiohttp.ClientError, OSError, TimeoutError):
                    self.failed += 1
                await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, http: aiohttp.ClientSession, projection: str, key: str) -> None:
        url = URL(f"{self._address}/api/v1/projections/{projection}/{quote(key, safe='')}", encoded=True)
        async with http.get(url) as response:
            body = await response.read()
        if response.status == 200:
            row = json.loads(body)
            self.reads.append(Read(self._name, projection, key, row["position"], row["version"]))
        elif response.status != 404:
            self.failed += 1
