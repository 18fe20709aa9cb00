"""Waiting until events are applied. A poll of the database serves all waiting requests; with none, nothing polls."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from headrace.process.waiting import WakeUp
from tables.database import AnyConnection, Database, can_hold, is_away

MIN_PAUSE_SECONDS = 0.005
MAX_PAUSE_SECONDS = 0.1
MAX_EVENTS = 10_000
# Events of a batch are usually stored in order: until its last events are stored, the others need not be queried.
MAX_QUERIED_EVENTS = 100

# LATERAL with LIMIT keeps this an index lookup, however large the store is.
FIND_STORED = """
SELECT asked.source, asked.id, stored.position, stored.partition, (SELECT epoch FROM relay_state) AS epoch
FROM unnest($1::text[], $2::text[]) AS asked (source, id)
CROSS JOIN LATERAL (
    SELECT s.position, s.partition FROM event_store AS s WHERE s.source = asked.source AND s.id = asked.id LIMIT 1
) AS stored
"""
# A database that stepped back has another epoch before it has new positions.
READ_PROGRESS = """
SELECT progress.projection, progress.partition, progress.position, relay_state.epoch
FROM relay_state LEFT JOIN progress
    ON progress.projection = ANY ($1::text[]) AND progress.position <= relay_state.last_position
"""

Name = tuple[str, str]
"""An event's source and id."""


class _Waiter:
    """The events and projections that one caller waits for."""

    __slots__ = ("applied", "epoch", "events", "not_stored", "projections", "up_to")

    def __init__(self, events: Iterable[Name], projections: Collection[str]) -> None:
        self.events = list(dict.fromkeys(events))
        self.not_stored = self.events
        self.epoch: int | None = None
        """In which the events were found."""
        self.up_to: dict[int, int] = {}
        """By partition, the greatest position of those events that are stored."""
        self.projections = projections
        self.applied: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def queried(self) -> list[Name]:
        return self.not_stored[-MAX_QUERIED_EVENTS:]

    def note_stored(self, places: dict[Name, tuple[int, int]]) -> None:
        for name in self.queried:
            if (place := places.get(name)) is not None:
                position, partition = place
                self.up_to[partition] = max(self.up_to.get(partition, 0), position)
        self.not_stored = [name for name in self.not_stored if name not in places]

    def note_epoch(self, epoch: int) -> None:
        """Find all events again in another epoch: the database may have been restored without them."""
        if self.epoch is not None and self.epoch != epoch:
            self.not_stored, self.up_to = self.events, {}
        self.epoch = epoch

    def is_over(self, progress: dict[tuple[str, int], int]) -> bool:
        return not self.not_stored and all(
            progress.get((projection, partition), 0) >= position
            for projection in self.projections
            for partition, position in self.up_to.items()
        )


class AppliedEvents:
    """Lets requests wait until projections have applied or parked events, so that their progress is past them.

    All waiting requests of the worker share one connection, and a poll every 5 to 100 ms. They keep waiting while
    PostgreSQL is unavailable.
    """

    def __init__(self, database: Database, projections: Iterable[str], *, max_events: int = MAX_EVENTS) -> None:
        self._database = database
        self._projections = tuple(projections)
        self._max_events = max_events
        self.waiting_events = 0
        self._waiters: set[_Waiter] = set()
        self._changed = WakeUp()
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, source: str, event_id: str, seconds: float, projection: str | None = None) -> bool:
        """Wait until a projection, or all if it is None, are past the event; return False after `seconds`.

        An unknown event may still arrive. Return False immediately if too many events are waited for already, and when
        the worker stops.
        """
        projections = self._projections if projection is None else (projection,)
        return await self._wait([(source, event_id)], projections, seconds)

    async def wait_for_all(self, events: Collection[Name], seconds: float) -> bool:
        """Wait like `wait`, for several events (source, id) and all projections."""
        return await self._wait(events, self._projections, seconds)

    def close(self) -> None:
        """End all waits, now and later; they return False."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.applied.done():
                waiter.applied.set_result(False)

    async def on_shutdown(self, _: object) -> None:
        """Call `close`; has the signature of an aiohttp shutdown handler."""
        self.close()

    async def _wait(self, events: Collection[Name], projections: Collection[str], seconds: float) -> bool:
        storable = all(can_hold(text) for name in events for text in name)
        if self._closed or not storable or self.waiting_events + len(events) > self._max_events:
            return False
        waiter = _Waiter(events, projections)
        self._waiters.add(waiter)
        self.waiting_events += len(events)
        self._changed.set()
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll_while_waiting())
        try:
            async with asyncio.timeout(seconds):
                return await waiter.applied
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
            self.waiting_events -= len(events)

    async def _poll_while_waiting(self) -> None:
        pause = MIN_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        try:
            while self._waiters:
                started = loop.time()
                try:
                    async with self._database.acquire() as connection:
                        moved = await self._poll(connection)
                except Exception as error:
                    if not is_away(error):
                        raise
                    moved = False
                pause = MIN_PAUSE_SECONDS if moved else min(pause * 1.5, MAX_PAUSE_SECONDS)
                # Pause at least as long as the poll lasted, so that slow polls use at most half of the time.
                await asyncio.sleep(max(MIN_PAUSE_SECONDS, loop.time() - started))
                if await self._changed.wait(pause - MIN_PAUSE_SECONDS):
                    pause = MIN_PAUSE_SECONDS
        except Exception as error:  # noqa: BLE001 - a bug is raised in the waiting requests
            for waiter in self._waiters:
                if not waiter.applied.done():
                    waiter.applied.set_exception(error)
        finally:
            self._poller = None

    async def _poll(self, connection: AnyConnection) -> bool:
        """Poll once for all waiting requests; return whether any of their events was stored or applied."""
        waiters = list(self._waiters)
        names = [name for waiter in waiters for name in waiter.queried]
        stored, epoch = await _find_stored(connection, names) if names else ({}, None)
        if epoch is not None:
            for waiter in waiters:
                waiter.note_epoch(epoch)
                waiter.note_stored(stored)
        if all(waiter.not_stored for waiter in waiters):
            return bool(stored)
        progress, epoch = await _read_progress(connection, {name for waiter in waiters for name in waiter.projections})
        for waiter in waiters:
            waiter.note_epoch(epoch)
        over = [waiter for waiter in waiters if waiter.is_over(progress)]
        for waiter in over:
            if not waiter.applied.done():
                waiter.applied.set_result(True)
        return bool(stored or over)


async def _find_stored(
    connection: AnyConnection, names: Collection[Name]
) -> tuple[dict[Name, tuple[int, int]], int | None]:
    """Position and partition of the events that are stored, and the epoch; None if none is stored."""
    rows = await connection.fetch(FIND_STORED, [name[0] for name in names], [name[1] for name in names])
    places = {(row["source"], row["id"]): (row["position"], row["partition"]) for row in rows}
    return places, rows[0]["epoch"] if rows else None


async def _read_progress(
    connection: AnyConnection, projections: Collection[str]
) -> tuple[dict[tuple[str, int], int], int]:
    """The progress of these projections, as far as the event store reaches, and the epoch."""
    rows = await connection.fetch(READ_PROGRESS, list(projections))
    progress = {(row["projection"], row["partition"]): row["position"] for row in rows if row["projection"] is not None}
    return progress, rows[0]["epoch"]
