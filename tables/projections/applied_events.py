"""Waiting until events are applied: one look at the database serves all who wait; without them nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from headrace.process.waiting import WakeUp
from tables.database import AnyConnection, Database, can_hold, is_away

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1
MOST_EVENTS = 10_000
# The events of a batch are stored in order as a rule: while its last ones are not there, the others need no look.
MOST_LOOKED_FOR = 100

# LATERAL with LIMIT keeps this a look-up by index however large the store is.
FIND_STORED = """
SELECT asked.source, asked.id, stored.position, stored.partition
FROM unnest($1::text[], $2::text[]) AS asked (source, id)
CROSS JOIN LATERAL (
    SELECT s.position, s.partition FROM event_store AS s WHERE s.source = asked.source AND s.id = asked.id LIMIT 1
) AS stored
"""
READ_PROGRESS = "SELECT projection, partition, position FROM progress WHERE projection = ANY ($1::text[])"

Name = tuple[str, str]
"""An event's source and id."""


class _Waiter:
    """What one caller waits for."""

    __slots__ = ("applied", "not_stored", "projections", "up_to")

    def __init__(self, events: Iterable[Name], projections: Collection[str]) -> None:
        self.not_stored = list(dict.fromkeys(events))
        self.up_to: dict[int, int] = {}
        """For each partition the greatest position of the events that are stored."""
        self.projections = projections
        self.applied: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def looked_for(self) -> list[Name]:
        return self.not_stored[-MOST_LOOKED_FOR:]

    def take_stored(self, places: dict[Name, tuple[int, int]]) -> None:
        for name in self.looked_for:
            if (place := places.get(name)) is not None:
                position, partition = place
                self.up_to[partition] = max(self.up_to.get(partition, 0), position)
        self.not_stored = [name for name in self.not_stored if name not in places]

    def is_over(self, progress: dict[tuple[str, int], int]) -> bool:
        return not self.not_stored and all(
            progress.get((projection, partition), 0) >= position
            for projection in self.projections
            for partition, position in self.up_to.items()
        )


class AppliedEvents:
    """One for a worker. `wait` returns when projections have applied an event, or parked it: their progress is past it.

    All who wait share one connection, and one look every 5 to 100 ms. While PostgreSQL is away they go on waiting.
    """

    def __init__(self, database: Database, projections: Iterable[str], *, most_events: int = MOST_EVENTS) -> None:
        self._database = database
        self._projections = tuple(projections)
        self._most_events = most_events
        self.waiting_events = 0
        self._waits: set[_Waiter] = set()
        self._changed = WakeUp()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, source: str, event_id: str, seconds: float, projection: str | None = None) -> bool:
        """Whether this projection, or every one, is past the event within the time.

        An event that was never seen may still come. False at once when as many events are waited for as may be, and
        when the worker stops.
        """
        projections = self._projections if projection is None else (projection,)
        return await self._wait([(source, event_id)], projections, seconds)

    async def wait_for_all(self, events: Collection[Name], seconds: float) -> bool:
        """As `wait`, for several events (source, id) and every projection."""
        return await self._wait(events, self._projections, seconds)

    def close(self) -> None:
        """Let all who wait go: they get False."""
        self._closed = True
        for wait in self._waits:
            if not wait.applied.done():
                wait.applied.set_result(False)

    async def let_go(self, _: object) -> None:
        """`close`, as what an application calls when it shuts down."""
        self.close()

    async def _wait(self, events: Collection[Name], projections: Collection[str], seconds: float) -> bool:
        storable = all(can_hold(text) for name in events for text in name)
        if self._closed or not storable or self.waiting_events + len(events) > self._most_events:
            return False
        wait = _Waiter(events, projections)
        self._waits.add(wait)
        self.waiting_events += len(events)
        self._changed.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_while_somebody_waits())
        try:
            async with asyncio.timeout(seconds):
                return await wait.applied
        except TimeoutError:
            return False
        finally:
            self._waits.discard(wait)
            self.waiting_events -= len(events)

    async def _look_while_somebody_waits(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        try:
            while self._waits:
                started = loop.time()
                try:
                    async with self._database.acquire() as connection:
                        moved = await self._look(connection)
                except Exception as error:
                    if not is_away(error):
                        raise
                    moved = False
                pause = FIRST_PAUSE_SECONDS if moved else min(pause * 1.5, LONGEST_PAUSE_SECONDS)
                # At least half of the time there is no look, however long one takes.
                await asyncio.sleep(max(FIRST_PAUSE_SECONDS, loop.time() - started))
                if await self._changed.wait(pause - FIRST_PAUSE_SECONDS):
                    pause = FIRST_PAUSE_SECONDS
        except Exception as error:  # noqa: BLE001 - a mistake of ours belongs to the requests that wait
            for wait in self._waits:
                if not wait.applied.done():
                    wait.applied.set_exception(error)
        finally:
            self._looking = None

    async def _look(self, connection: AnyConnection) -> bool:
        """One look for all who wait; whether anything that they wait for has come."""
        waits = list(self._waits)
        names = [name for wait in waits for name in wait.looked_for]
        stored = await _find_stored(connection, names) if names else {}
        if stored:
            for wait in waits:
                wait.take_stored(stored)
        if all(wait.not_stored for wait in waits):
            return bool(stored)
        progress = await _read_progress(connection, {name for wait in waits for name in wait.projections})
        over = [wait for wait in waits if wait.is_over(progress)]
        for wait in over:
            if not wait.applied.done():
                wait.applied.set_result(True)
        return bool(stored or over)


async def _find_stored(connection: AnyConnection, names: Collection[Name]) -> dict[Name, tuple[int, int]]:
    rows = await connection.fetch(FIND_STORED, [name[0] for name in names], [name[1] for name in names])
    return {(row["source"], row["id"]): (row["position"], row["partition"]) for row in rows}


async def _read_progress(connection: AnyConnection, projections: Collection[str]) -> dict[tuple[str, int], int]:
    rows = await connection.fetch(READ_PROGRESS, list(projections))
    return {(row["projection"], row["partition"]): row["position"] for row in rows}
