"""Applies parked events of a group in order, after a fix, or goes on without some of them.

Guarantee: an event is applied once, in the order of its group, also while event handlers run in other processes. A
step holds the progress of the projection's every partition, so that nothing is applied or parked meanwhile; a writer
that rests on what it remembers finds the versions of the rows changed. What cannot be applied stays, with all behind
it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg

from agents.parked.group_replay import Replay
from headrace.folding.folding import Folding, reason
from headrace.folding.parked_groups import Failure, Group, NotFirstError, NotParkedError, ParkedOutcome
from headrace.folding.rows import ParkedEvent
from headrace.projection import Projection
from tables.database import AnyConnection, Database
from tables.parked import discarded, parked, parked_list
from tables.projections import writing
from tables.unstorable import UNSTORABLE

log = logging.getLogger(__name__)

EVENTS_AT_ONCE = 500
GROUPS_AT_ONCE = 100
MOST_FAILURES = 100
CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class _Step(NamedTuple):
    applied: int
    moved: int
    failure: Failure | None
    is_last: bool


class Retrier:
    """Retries and discards, one request at a time."""

    def __init__(
        self, projections: Iterable[Projection[Any]], database: Database, *, most_seconds: float = float("inf")
    ) -> None:
        """A request that is not done after `most_seconds` ends between two steps and tells what is left."""
        self._foldings = {projection.name: Folding(projection) for projection in projections}
        self._database = database
        self._most_seconds = most_seconds
        self._turn = asyncio.Lock()

    async def retry(self, projection: str, group: Group | None) -> ParkedOutcome:
        """See `app.parking.Parking`."""
        async with self._turn, self._database.acquire() as connection:
            if group is None:
                return await self._retry_all(connection, projection)
            if not await parked.count(connection, projection, group):
                raise NotParkedError(f"Nothing of this key is parked in {projection}.")
            return await self._retry_group(connection, projection, group, self._deadline())

    async def discard(self, projection: str, what: Group | int, *, reason: str, by: str) -> ParkedOutcome:
        """See `app.parking.Parking`."""
        async with self._turn, self._database.acquire() as connection:
            group = what if isinstance(what, Group) else await parked.group_of(connection, projection, what)
            deadline = self._deadline()
            count = 0
            if group is not None:
                only = what if isinstance(what, int) else None
                while found := await self._discard_some(connection, projection, group, only, why=reason, by=by):
                    count += found
                    if only is not None or time.monotonic() >= deadline:
                        break
            if not count or group is None:
                raise NotParkedError(f"It is not parked in {projection}.")
            outcome = await self._retry_group(connection, projection, group, deadline)
            return ParkedOutcome(projection, count, outcome.applied, outcome.still_parked, outcome.failures)

    def _deadline(self) -> float:
        return time.monotonic() + self._most_seconds

    async def _retry_all(self, connection: AnyConnection, projection: str) -> ParkedOutcome:
        deadline = self._deadline()
        applied, failures = 0, list[Failure]()
        after = parked_list.BEGINNING
        while found := await parked_list.first_of_groups(
            connection, projection=projection, after=after, at_most=GROUPS_AT_ONCE
        ):
            for one in found:
                outcome = await self._retry_group(connection, projection, one.group, deadline)
                applied += outcome.applied
                failures += outcome.failures[: MOST_FAILURES - len(failures)]
                after = parked_list.After(projection, one.position)
        return ParkedOutcome(projection, 0, applied, (await parked.counts(connection)).get(projection, 0), failures)

    async def _retry_group(
        self, connection: AnyConnection, projection: str, group: Group, deadline: float
    ) -> ParkedOutcome:
        applied, moved, failure, at_most = 0, 0, None, EVENTS_AT_ONCE
        while time.monotonic() < deadline:
            try:
                step = await self._step(connection, projection, group, at_most)
            except CONFLICTS:
                continue
            except UNSTORABLE as error:
                if at_most > 1:
                    at_most = max(at_most // 8, 1)
                    continue
                failure = await self._fail_first(connection, projection, group, error)
                break
            at_most = min(at_most * 2, EVENTS_AT_ONCE)
            applied += step.applied
            moved += step.moved
            failure = step.failure
            if failure or step.is_last:
                break
        left = await parked.count(connection, projection, group)
        return ParkedOutcome(projection, 0, applied, left + moved, [failure] if failure else [])

    async def _step(self, connection: AnyConnection, projection: str, group: Group, at_most: int) -> _Step:
        """Apply the first events of a group, in one transaction, up to the first that fails."""
        await writing.start_all_progress(connection, projection)
        async with connection.transaction():
            await writing.lock_all_progress(connection, projection)
            waiting = await parked.first(connection, projection, group, at_most=at_most)
            replay = Replay(self._foldings[projection], group, waiting)
            keys = sorted(replay.keys)
            others = [Group(key) for key in keys if Group(key) != group]
            found = await writing.read_rows(connection, projection, keys, lock=True)
            replay.run(found, blocked=await parked.blocked(connection, projection, others))
            await writing.write(connection, projection, {}, replay.rows())
            await parked.release(connection, projection, replay.applied)
            await parked.update(connection, projection, [*replay.moved, *([replay.failed] if replay.failed else [])])
        failure = None if replay.failed is None else _failure(replay.failed)
        return _Step(len(replay.applied), len(replay.moved), failure, len(waiting) < at_most)

    async def _fail_first(
        self, connection: AnyConnection, projection: str, group: Group, error: Exception
    ) -> Failure | None:
        """Note why the first event of a group cannot be stored."""
        async with connection.transaction():
            waiting = await parked.first(connection, projection, group, at_most=1)
            if not waiting:
                return None
            failed = ParkedEvent(waiting[0].position, group, reason(error), 1)
            await parked.update(connection, projection, [failed])
        return _failure(failed)

    async def _discard_some(
        self, connection: AnyConnection, projection: str, group: Group, only: int | None, *, why: str, by: str
    ) -> int:
        await writing.start_all_progress(connection, projection)
        async with connection.transaction():
            await writing.lock_all_progress(connection, projection)
            at_most = EVENTS_AT_ONCE if only is None else 1
            positions = [one.position for one in await parked.first(connection, projection, group, at_most=at_most)]
            if only is not None and positions != [only]:
                raise NotFirstError(
                    f"The event at position {only} waits behind the one at position {positions[0]}: "
                    "retry or discard that one first."
                    if positions
                    else None
                )
            gone = await discarded.discard(connection, projection, positions, reason=why, by=by)
        _log(projection, gone, why, by)
        return len(gone)


def _failure(event: ParkedEvent) -> Failure:
    return Failure(event.position, event.group.key, event.error)


def _log(projection: str, events: Sequence[discarded.Discarded], why: str, by: str) -> None:
    for event in events:
        log.warning(
            "Projection %s goes on without the event at position %s (%s, source %r, id %r; key %r), as %s wants: %s",
            projection,
            event.position,
            event.event_type,
            event.source,
            event.id,
            event.key,
            by,
            why,
        )
