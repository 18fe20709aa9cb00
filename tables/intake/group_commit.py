"""Group commit into the outbox: events that arrive together share one statement and one commit.

The first waits for nobody; those that come while a commit is under way share the next one. One commit at a time in
a worker, so the order of `seq` is the order in which events were taken.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import asyncpg

from headrace.errors import DependencyAwayError, HeadraceError
from headrace.events.envelope import Event
from headrace.events.outcome import REFUSALS, Outcome
from headrace.process.fault_points import DOOR_COMMITTED, DOOR_TAKEN
from headrace.process.waiting import backoff_seconds
from tables.database import AnyConnection, Database, is_away
from tables.intake import outbox
from tables.intake.disk_space import DatabaseFullError, DiskSpace
from tables.unstorable import halve

MAX_GROUP_EVENTS = 2_000
MAX_GROUP_BYTES = 8_000_000
# Three doors that collide can make each other fail again and again, unless they begin anew at different times.
DEADLOCK_TRIES = 8
DEADLOCK_WAIT_SECONDS = 0.01
MOST_RETRY_AFTER_SECONDS = 60
# How much the newest group counts in the rate at which groups are written.
NEWEST_WEIGHT = 0.2


class QueueFullError(HeadraceError):
    """Too many events wait to be written; the same request may succeed in a moment."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds
        """When those that wait now should be written."""


class _Submission:
    """The events of one request; they are written in one commit."""

    __slots__ = ("all_or_nothing", "events", "future", "outcomes", "size_bytes")

    def __init__(self, events: Sequence[Event], *, all_or_nothing: bool) -> None:
        self.events = events
        self.all_or_nothing = all_or_nothing
        self.size_bytes = sum(sys.getsizeof(event.text) for event in events)
        """In memory: a text with one letter beyond Latin takes 2 or 4 bytes for each."""
        self.outcomes: list[Outcome] = [Outcome.ACCEPTED] * len(events)
        self.future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()


_Place = tuple[_Submission, int]
"""An event: its request, and its index in it."""


class GroupCommit:
    """Takes events from many requests and writes them to the outbox. `committed` is called after each commit."""

    def __init__(
        self,
        database: Database,
        *,
        max_queued_events: int,
        max_queued_bytes: int = 64_000_000,
        committed: Callable[[], None],
        disk_space: DiskSpace | None = None,
    ) -> None:
        self.queued_events = 0
        self.queued_bytes = 0
        self._database = database
        self._max_queued_events = max_queued_events
        self._max_queued_bytes = max_queued_bytes
        self._committed = committed
        self._disk_space = disk_space or DiskSpace()
        self._queue: deque[_Submission] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._events_a_second = 0.0
        self._group_started = 0.0

    async def submit(self, events: Sequence[Event], *, all_or_nothing: bool = False) -> list[Outcome]:
        """Write the events of one request, all in one commit; what became of each, in the order sent.

        With `all_or_nothing` none of them is kept where an outcome says that one is refused; no group shares the
        commit then.

        Raises QueueFullError, or DependencyAwayError when PostgreSQL did not say that it is committed: then nobody
        knows, and the same events may be submitted again.
        """
        if self._disk_space.is_full:
            raise DatabaseFullError
        submission = _Submission(events, all_or_nothing=all_or_nothing)
        if self._queue and (
            self.queued_events + len(events) > self._max_queued_events
            or self.queued_bytes + submission.size_bytes > self._max_queued_bytes
        ):
            raise QueueFullError(self._drained_in_seconds())
        self._queue.append(submission)
        self.queued_events += len(events)
        self.queued_bytes += submission.size_bytes
        if self._writer is None:
            self._group_started = time.monotonic()
            self._writer = asyncio.create_task(self._write())
        return await submission.future

    def check_room(self) -> None:
        """Raises what `submit` would raise for any event at all: known before a body is looked at."""
        if self._disk_space.is_full:
            raise DatabaseFullError
        if self.queued_events >= self._max_queued_events or self.queued_bytes >= self._max_queued_bytes:
            raise QueueFullError(self._drained_in_seconds())

    def _drained_in_seconds(self) -> int:
        """From what waits and the rate at which groups were written; at least as long as the group under way took."""
        waits = self.queued_events / self._events_a_second if self._events_a_second else 0.0
        under_way = time.monotonic() - self._group_started
        return min(max(math.ceil(max(waits, under_way)), 1), MOST_RETRY_AFTER_SECONDS)

    async def _write(self) -> None:
        try:
            while self._queue:
                group = self._take_group()
                self._group_started = time.monotonic()
                try:
                    if DOOR_TAKEN.armed:
                        await DOOR_TAKEN.passed()
                    async with self._database.acquire() as connection:
                        await self._commit_as_asked(connection, group)
                    if DOOR_COMMITTED.armed:
                        await DOOR_COMMITTED.passed()
                except Exception as error:  # noqa: BLE001 - whatever it is belongs to the requests that wait
                    self._fail(group, error)
                else:
                    self._note_rate(sum(len(submission.events) for submission in group))
                    self._committed()
                    for submission in group:
                        if not submission.future.done():
                            submission.future.set_result(submission.outcomes)
        finally:
            self._writer = None

    def _take_group(self) -> list[_Submission]:
        group: list[_Submission] = []
        events = size_bytes = 0
        while self._queue and (not group or (events < MAX_GROUP_EVENTS and size_bytes < MAX_GROUP_BYTES)):
            if group and (group[0].all_or_nothing or self._queue[0].all_or_nothing):
                break
            submission = self._queue.popleft()
            group.append(submission)
            events += len(submission.events)
            size_bytes += submission.size_bytes
        self.queued_events -= events
        self.queued_bytes -= size_bytes
        return group

    def _note_rate(self, events: int) -> None:
        rate = events / max(time.monotonic() - self._group_started, 1e-6)
        self._events_a_second += (rate - self._events_a_second) * (NEWEST_WEIGHT if self._events_a_second else 1.0)

    def _fail(self, group: list[_Submission], error: Exception) -> None:
        """Tell a group; and all that wait, where PostgreSQL cannot be reached or has no room."""
        self._disk_space.saw(error)
        if self._disk_space.is_full or isinstance(error, OSError):
            group.extend(self._queue)
            self._queue.clear()
            self.queued_events = self.queued_bytes = 0
        if self._disk_space.is_full:
            error = DatabaseFullError()
        elif is_away(error):
            error = DependencyAwayError(f"PostgreSQL does not answer ({type(error).__name__}).")
        for submission in group:
            if not submission.future.done():
                submission.future.set_exception(error)

    async def _commit_as_asked(self, connection: AnyConnection, group: list[_Submission]) -> None:
        if not group[0].all_or_nothing:
            await self._commit(connection, group)
            return
        transaction = connection.transaction()
        await transaction.start()
        try:
            await self._commit(connection, group)
        except BaseException:
            await transaction.rollback()
            raise
        if REFUSALS.isdisjoint(group[0].outcomes):
            await transaction.commit()
        else:
            await transaction.rollback()

    async def _commit(self, connection: AnyConnection, group: list[_Submission]) -> None:
        """Write a group. Where an event comes again in it, the first is written, and then all others find it.

        Only where the database refused the first does the next one have to be tried in its place.
        """
        places = [(submission, index) for submission in group for index in range(len(submission.events))]
        while places:
            first: dict[tuple[str, str], _Place] = {}
            again = [place for place in places if first.setdefault(_name(place), place) is not place]
            await self._accept(connection, list(first.values()))
            places = []
            known: list[_Place] = []
            for place in again:
                submission, index = first[_name(place)]
                (places if submission.outcomes[index] is Outcome.UNSTORABLE else known).append(place)
            if known:
                await self._accept(connection, known)

    async def _accept(self, connection: AnyConnection, places: Sequence[_Place]) -> None:
        """One statement; when PostgreSQL refuses an event, the halves are written separately."""

        async def write(part: Sequence[_Place]) -> None:
            events = [submission.events[index] for submission, index in part]
            for place, same in (await _accept_with_retry(connection, events)).items():
                submission, index = part[place]
                submission.outcomes[index] = Outcome.DUPLICATE if same else Outcome.CONFLICT

        await halve(places, write, _set_aside)


async def _set_aside(place: _Place, _: Exception) -> None:
    submission, index = place
    submission.outcomes[index] = Outcome.UNSTORABLE


def _name(place: _Place) -> tuple[str, str]:
    submission, index = place
    event = submission.events[index]
    return event.source, event.id


async def _accept_with_retry(connection: AnyConnection, events: Sequence[Event]) -> dict[int, bool]:
    """Two doors that take the same events in another order at the same time: one of them is told to try again."""
    for wait in islice(backoff_seconds(first=DEADLOCK_WAIT_SECONDS), DEADLOCK_TRIES - 1):
        try:
            return await _accept_once(connection, events)
        except asyncpg.TransactionRollbackError:
            await asyncio.sleep(wait)
    return await _accept_once(connection, events)


async def _accept_once(connection: AnyConnection, events: Sequence[Event]) -> dict[int, bool]:
    if not connection.is_in_transaction():
        return await outbox.accept(connection, events)
    async with connection.transaction():  # a savepoint: what is refused here must not spoil what was written before
        return await outbox.accept(connection, events)
