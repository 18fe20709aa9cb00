"""`GET /metrics`: the metrics of this worker, and of the database if it answers in time.

A scrape neither fails nor waits long when PostgreSQL is away: `headrace_postgres_up` is 0 then, and metrics from the
database are left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder

from headrace.process import metrics
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.metrics import Metrics, Sample, Source
from headrace.process.throttled_log import ThrottledLog
from tables.database import HEARTBEAT, AnyConnection, Database
from tables.intake import unpublished
from tables.parked import parked
from tables.projections.positions import ProjectionPosition, positions
from tables.refusals import explained

DATABASE_SECONDS = 2.0
KEEP_SECONDS = 5.0

log = ActionLog(__name__)
throttled = ThrottledLog(log)


class DatabaseSamples:
    """Metrics about the projections from the database, cached for `KEEP_SECONDS` for all scrapes."""

    def __init__(self, database: Database, projections: Sequence[str], *, stalled_after_seconds: float) -> None:
        """With no `projections`, the only metric is whether the database answers."""
        self._database = database
        self._projections = projections
        self._stalled_after_seconds = stalled_after_seconds
        self._asked_at = float("-inf")
        self._turn = asyncio.Lock()
        self._is_up = False
        self._positions: list[ProjectionPosition] = []
        self._parked: dict[str, int] = {}
        self._unpublished: int | None = None

    async def refresh(self) -> None:
        """Query the database if the cached values are older than `KEEP_SECONDS`."""
        async with self._turn:
            if time.monotonic() - self._asked_at < KEEP_SECONDS:
                return
            self._is_up, self._positions, self._parked, self._unpublished = False, [], {}, None
            try:
                async with asyncio.timeout(DATABASE_SECONDS):
                    await self._ask()
            except Exception as error:  # noqa: BLE001 - whatever it is: the other metrics are still answered
                text = "PostgreSQL does not answer; metrics from the database are absent: {error}"
                throttled.warning(LogAction.POSTGRES_UNAVAILABLE, text, error=explained(error))
            self._asked_at = time.monotonic()

    async def _ask(self) -> None:
        async with self._database.acquire("rows") as connection:
            if self._projections:
                self._positions = await positions(connection, self._projections)
                self._parked = await self._parked_of(connection)
                self._unpublished = await unpublished.count(connection)
            else:
                await connection.execute(HEARTBEAT)
        self._is_up = True

    async def _parked_of(self, connection: AnyConnection) -> dict[str, int]:
        """Of the projections that the code has; `agents.upkeep.leftovers` counts those of all others."""
        counted = await parked.counts(connection)
        return {name: counted.get(name, 0) for name in self._projections}

    def samples(self) -> Iterator[Sample]:
        """The cached values."""
        yield Sample(metrics.POSTGRES_UP, int(self._is_up))
        for position in self._positions:
            labels = (position.projection,)
            yield Sample(metrics.POSITION, position.position, labels)
            yield Sample(metrics.LAG_EVENTS, position.lag_events, labels)
            yield Sample(metrics.LAG_SECONDS, position.lag_seconds, labels)
            yield Sample(metrics.STALLED, int(position.waits_seconds > self._stalled_after_seconds), labels)
        if self._unpublished is not None:
            yield Sample(metrics.UNPUBLISHED, self._unpublished)
        for name, count in self._parked.items():
            yield Sample(metrics.PARKED, count, (name,))


class MetricsView:
    """Serves the metrics of the worker, the same on each of its ports."""

    def __init__(self, all_metrics: Metrics, database: DatabaseSamples) -> None:
        all_metrics.add(database.samples)
        self._metrics = all_metrics
        self._database = database

    def add(self, *sources: Source) -> None:
        """Include the samples of these sources."""
        for source in sources:
            self._metrics.add(source)

    def routes(self) -> list[web.RouteDef]:
        """`GET /metrics`."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, request: web.Request) -> web.Response:
        """All metrics, in the format that the scraper prefers."""
        await self._database.refresh()
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(self._metrics.registry), headers={hdrs.CONTENT_TYPE: content_type})
