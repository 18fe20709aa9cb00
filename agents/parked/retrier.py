"""Retries the parked events of a group in order after a fix, or discards events.

Guarantee: each event is applied once and in the order of its group, even while event handlers run in other processes.
Each step locks the projection's progress in all partitions, so nothing is applied or parked meanwhile. A projector
that relies on its cache then finds changed row versions. An event that fails stays parked, with all events behind it.
Whatever fails in one group, the other groups are retried.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg

from agents.parked.group_replay import Replay
from agents.projector.batch_size import BatchSize
from headrace.access.grant import Grant
from headrace.errors import HeadraceError
from headrace.events.topic_record import past_records
from headrace.folding.failures import place_of, reason
from headrace.folding.folding import MAX_STATE_BYTES, Folding
from headrace.folding.parked_groups import (
    Failure,
    Group,
    NotFirstError,
    NotParkedError,
    NotPermittedError,
    ParkedOutcome,
)
from headrace.folding.rows import ParkedEvent
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.projection import Projection
from tables import database
from tables.database import TIMED_OUT, AnyConnection, Database
from tables.parked import discarded, own_groups, parked, parked_list
from tables.parked.parked_list import ParkedGroup
from tables.projections import writing
from tables.unstorable import UNSTORABLE, TooLargeError

log = ActionLog(__name__)

EVENTS_AT_ONCE = 500
GROUPS_AT_ONCE = 100
MAX_FAILURES = 100
NOT_PERMITTED = (
    "The role in PostgreSQL may not retry or discard parked events. Use an address whose role has these rights: "
    "DATABASE_URL_OPERATION for the query service, DATABASE_URL for commands; docs/roles.md lists the rights."
)
CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class TooSlowError(HeadraceError):
    """PostgreSQL took too long for this event alone."""


class _Step(NamedTuple):
    applied: int
    moved: int
    failure: Failure | None
    is_last: bool


class Retrier:
    """Serves requests to retry or discard, one at a time. Implements `headrace.folding.parked_groups.Parking`."""

    def __init__(
        self,
        projections: Iterable[Projection[Any]],
        source: Database,
        *,
        max_seconds: float = float("inf"),
        max_state_bytes: int = MAX_STATE_BYTES,
    ) -> None:
        """A request ends after the first step that exceeds `max_seconds`; its outcome counts what is still parked."""
        self._foldings = {
            projection.name: Folding(projection, max_state_bytes=max_state_bytes) for projection in projections
        }
        self._source = source
        self._max_seconds = max_seconds
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AnyConnection]:
        """A connection for one request, in its turn. Raises NotPermittedError where its role may not do that."""
        try:
            async with self._turn, self._source.acquire() as connection:
                yield connection
        except asyncpg.InsufficientPrivilegeError as error:
            raise NotPermittedError(NOT_PERMITTED) from error

    async def retry(self, projection: str, group: Group | None, *, grant: Grant | None = None) -> ParkedOutcome:
        """Retry a group, or all groups if it is None. Raises NotParkedError if the group has no parked events.

        Raises NotPermittedError if the role of the connection may not.
        """
        async with self._connection() as connection:
            if group is None:
                return await self._retry_all(connection, projection, grant)
            is_own = grant is None or await own_groups.is_own(connection, projection, group, grant)
            if not is_own or not await parked.count(connection, projection, group):
                raise NotParkedError(f"No events of this key are parked in {projection}.")
            return await self._retry_group(connection, projection, group, self._deadline(), grant=grant)

    async def discard(
        self, projection: str, what: Group | int, *, reason: str, by: str, grant: Grant | None = None
    ) -> ParkedOutcome:
        """Discard a group, or the first event of a group by its position, then retry the events behind it.

        Raises NotParkedError if nothing is parked there, NotFirstError if the event is not the first of its group, and
        NotPermittedError if the role of the connection may not.
        """
        async with self._connection() as connection:
            group = what if isinstance(what, Group) else await parked.group_of(connection, projection, what)
            if grant and group and not await own_groups.is_own(connection, projection, group, grant):
                group = None
            deadline = self._deadline()
            count = 0
            if group is not None:
                only = what if isinstance(what, int) else None
                # Events that are parked from now on were not asked for.
                last = only or await parked.last(connection, projection, group)
                while found := await self._discard_some(
                    connection, projection, group, only, last, why=reason, by=by, grant=grant
                ):
                    count += found
                    if only is not None or time.monotonic() >= deadline:
                        break
            if not count or group is None:
                raise NotParkedError(f"No such event is parked in {projection}.")
            outcome = await self._retry_group(connection, projection, group, deadline, grant=grant)
            return ParkedOutcome(projection, count, outcome.applied, outcome.still_parked, outcome.failures)

    def _deadline(self) -> float:
        return time.monotonic() + self._max_seconds

    async def _retry_all(self, connection: AnyConnection, projection: str, grant: Grant | None) -> ParkedOutcome:
        deadline = self._deadline()
        applied, left, failures = 0, 0, list[Failure]()
        after, more = parked_list.BEGINNING, True
        while more:
            page = await parked_list.first_of_groups(
                connection, projection=projection, after=after, at_most=GROUPS_AT_ONCE, grant=grant
            )
            for one in page.groups:
                outcome = await self._retry_one_of_all(connection, projection, one, deadline, grant=grant)
                applied += outcome.applied
                left += outcome.still_parked
                failures += outcome.failures[: MAX_FAILURES - len(failures)]
                after = parked_list.After(projection, one.position)
            more = page.more
        if grant is None:
            left = (await parked.counts(connection)).get(projection, 0)
        return ParkedOutcome(projection, 0, applied, left, failures)

    async def _retry_one_of_all(
        self,
        connection: AnyConnection,
        projection: str,
        first: ParkedGroup,
        deadline: float,
        *,
        grant: Grant | None,
    ) -> ParkedOutcome:
        """Retry a group; an unforeseen error is its failure, and the other groups are retried all the same."""
        try:
            return await self._retry_group(connection, projection, first.group, deadline, grant=grant)
        except Exception as error:
            if database.is_away(error) or isinstance(error, asyncpg.InsufficientPrivilegeError):
                raise
            _log_unforeseen(projection, first.key, error)
            left = first.waiting_behind + 1
            return ParkedOutcome(projection, 0, 0, left, [Failure(first.position, first.key, reason(error))])

    async def _retry_group(
        self, connection: AnyConnection, projection: str, group: Group, deadline: float, *, grant: Grant | None
    ) -> ParkedOutcome:
        applied, moved, failure, size = 0, 0, None, BatchSize(EVENTS_AT_ONCE)
        while time.monotonic() < deadline:
            started = time.monotonic()
            try:
                step = await self._step(connection, projection, group, size, grant=grant)
            except CONFLICTS:
                continue
            except TIMED_OUT:
                if not size.is_exhausted:
                    size.note_time_out(min(size.events, await parked.count(connection, projection, group)))
                    continue
                failure = await self._fail_first(connection, projection, group, TooSlowError())
                break
            except (*UNSTORABLE, TooLargeError) as error:
                if size.events > 1:
                    size.note_refused()
                    continue
                failure = await self._fail_first(connection, projection, group, error)
                break
            size.note_done(time.monotonic() - started)
            applied += step.applied
            moved += step.moved
            failure = step.failure
            if failure or step.is_last:
                break
        left = await parked.count(connection, projection, group)
        return ParkedOutcome(projection, 0, applied, left + moved, [failure] if failure else [])

    async def _step(
        self, connection: AnyConnection, projection: str, group: Group, size: BatchSize, *, grant: Grant | None
    ) -> _Step:
        """Apply the first events of a group in one transaction, up to the first failure."""
        at_most, seconds = size.events, size.seconds
        await writing.start_all_progress(connection, projection)
        async with connection.transaction():
            await writing.lock_all_progress(connection, projection)
            waiting = await parked.first(connection, projection, group, at_most=at_most, seconds=seconds)
            # While the progress is locked, no event is parked, so none of another caller joins these.
            if grant and not await own_groups.are_own(connection, [one.position for one in waiting.events], grant):
                return _Step(0, 0, None, is_last=True)
            replay = Replay(self._foldings[projection], group, waiting.events)
            keys = sorted(replay.keys)
            others = [Group(key) for key in keys if Group(key) != group]
            found = await writing.read_rows(connection, projection, keys, lock=True, seconds=seconds)
            replay.run(found, blocked=await parked.blocked(connection, projection, others))
            await writing.write(connection, projection, {}, replay.rows(), seconds=seconds)
            await parked.release(connection, projection, replay.applied)
            await parked.update(connection, projection, [*replay.moved, *([replay.failed] if replay.failed else [])])
        failure = None if replay.failed is None else _failure(replay.failed)
        return _Step(len(replay.applied), len(replay.moved), failure, waiting.is_all)

    async def _fail_first(
        self, connection: AnyConnection, projection: str, group: Group, error: Exception
    ) -> Failure | None:
        """Record why the result of the group's first event cannot be stored; None if the group is empty now."""
        async with connection.transaction():
            positions = await parked.first_positions(connection, projection, group, at_most=1)
            if not positions:
                return None
            place = None
            if not isinstance(error, TooSlowError):  # such an event is not read again
                events = (await parked.first(connection, projection, group, at_most=1)).events
                chosen, _ = self._foldings[projection].choose(past_records(events))
                place = place_of(chosen[0].subscription.handler) if chosen else None
            failed = ParkedEvent(positions[0], group, reason(error), 1, place)
            await parked.update(connection, projection, [failed])
        return _failure(failed)

    async def _discard_some(
        self,
        connection: AnyConnection,
        projection: str,
        group: Group,
        only: int | None,
        last: int,
        *,
        why: str,
        by: str,
        grant: Grant | None,
    ) -> int:
        while True:
            try:
                gone = await self._discard_once(connection, projection, group, only, last, why=why, by=by, grant=grant)
            except CONFLICTS:
                continue
            _log(projection, gone, why, by)
            return len(gone)

    async def _discard_once(
        self,
        connection: AnyConnection,
        projection: str,
        group: Group,
        only: int | None,
        last: int,
        *,
        why: str,
        by: str,
        grant: Grant | None,
    ) -> Sequence[discarded.Discarded]:
        await writing.start_all_progress(connection, projection)
        async with connection.transaction():
            await writing.lock_all_progress(connection, projection)
            at_most = EVENTS_AT_ONCE if only is None else 1
            positions = await parked.first_positions(connection, projection, group, at_most=at_most)
            if only is not None and positions != [only]:
                raise NotFirstError(
                    f"The event at position {only} waits behind the event at position {positions[0]}: "
                    "retry or discard that event first."
                    if positions
                    else None
                )
            asked = [position for position in positions if position <= last]
            if grant and not await own_groups.are_own(connection, asked, grant):
                return []
            return await discarded.discard(connection, projection, asked, reason=why, by=by)


def _failure(event: ParkedEvent) -> Failure:
    return Failure(event.position, event.group.key, event.error)


def _log(projection: str, events: Sequence[discarded.Discarded], why: str, by: str) -> None:
    for event in events:
        log.warning(
            LogAction.PROJECTION_DISCARDED,
            "Projection {projection}: event {position} ({type}, source {source!r}, id {id!r}, key {key!r}) "
            "discarded by {by}: {reason}",
            projection=projection,
            position=event.position,
            type=event.event_type,
            source=event.source,
            id=event.id,
            key=event.key,
            by=by,
            reason=why,
        )


def _log_unforeseen(projection: str, key: str, error: Exception) -> None:
    text = "Projection {projection}: a retry of the parked events of key {key!r} failed unexpectedly"
    log.exception(LogAction.PARKED_RETRY_FAILED, text, error, projection=projection, key=key)
