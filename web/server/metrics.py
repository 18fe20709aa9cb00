"""`GET /metrics`: the numbers of this worker, and of the database as far as it answers in time.

A scrape never fails, nor waits for long, because PostgreSQL is away: then `headrace_postgres_up` is 0, and what only
the database knows is left out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder

from headrace.process import metrics
from headrace.process.metrics import Metrics, Sample, Source
from headrace.process.throttled_log import ThrottledLog
from tables.database import HEARTBEAT, Database
from tables.parked import parked
from tables.projections.positions import ProjectionPosition, positions

DATABASE_SECONDS = 2.0
KEEP_SECONDS = 5.0

log = logging.getLogger(__name__)
throttled = ThrottledLog(log)


class DatabaseSamples:
    """What the database knows about the projections, asked once for all scrapes of some seconds."""

    def __init__(self, database: Database, projections: Sequence[str], *, stalled_after_seconds: float) -> None:
        """`projections` may be empty: then only whether the database answers is told."""
        self._database = database
        self._projections = projections
        self._stalled_after_seconds = stalled_after_seconds
        self._asked_at = float("-inf")
        self._turn = asyncio.Lock()
        self._is_up = False
        self._positions: list[ProjectionPosition] = []
        self._parked: dict[str, int] = {}

    async def refresh(self) -> None:
        """Ask again if the last answer is old."""
        async with self._turn:
            if time.monotonic() - self._asked_at < KEEP_SECONDS:
                return
            self._is_up, self._positions, self._parked = False, [], {}
            try:
                async with asyncio.timeout(DATABASE_SECONDS):
                    await self._ask()
            except Exception as error:  # noqa: BLE001 - whatever it says: the rest is told all the same
                throttled.warning("PostgreSQL does not answer (%r); the metrics leave out what it knows.", error)
            self._asked_at = time.monotonic()

    async def _ask(self) -> None:
        async with self._database.acquire() as connection:
            if self._projections:
                self._positions = await positions(connection, self._projections)
                self._parked = dict.fromkeys(self._projections, 0) | await parked.counts(connection)
            else:
                await connection.execute(HEARTBEAT)
        self._is_up = True

    def samples(self) -> Iterator[Sample]:
        """For the metrics."""
        yield Sample(metrics.POSTGRES_UP, int(self._is_up))
        for one in self._positions:
            labels = (one.projection,)
            yield Sample(metrics.POSITION, one.position, labels)
            yield Sample(metrics.LAG_EVENTS, one.lag_events, labels)
            yield Sample(metrics.LAG_SECONDS, one.lag_seconds, labels)
            yield Sample(metrics.STALLED, int(one.waits_seconds > self._stalled_after_seconds), labels)
        for name, count in self._parked.items():
            yield Sample(metrics.PARKED, count, (name,))


class MetricsView:
    """The view; the same on every port of a worker."""

    def __init__(self, told: Metrics, database: DatabaseSamples) -> None:
        told.add(database.samples)
        self._told = told
        self._database = database

    def add(self, *sources: Source) -> None:
        """Tell what these have, too."""
        for source in sources:
            self._told.add(source)

    def routes(self) -> list[web.RouteDef]:
        """The one route."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, request: web.Request) -> web.Response:
        """All metrics, in the format that the scraper prefers."""
        await self._database.refresh()
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(self._told.registry), headers={hdrs.CONTENT_TYPE: content_type})
