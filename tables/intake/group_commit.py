"""Group commit into the outbox: events that arrive together share one statement and one commit.

The first request does not wait; those that arrive during a commit share the next commit. A worker runs one commit at a
time, so the order of `seq` is the order in which events were submitted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import asyncpg

from headrace.errors import DependencyAwayError, HeadraceError
from headrace.events.envelope import ParsedEvent
from headrace.events.outcome import REFUSALS, Outcome
from headrace.process.fault_points import DOOR_COMMITTED, DOOR_TAKEN
from headrace.process.waiting import backoff_seconds
from tables.adaptive_size import AdaptiveSize
from tables.database import TIMED_OUT, AnyConnection, Database, is_away
from tables.intake import outbox
from tables.intake.comparisons import Comparisons, ComparisonsBusyError
from tables.intake.disk_space import DatabaseFullError, DiskSpace
from tables.intake.outbox import Callers
from tables.intake.submissions import Place, Submission, callers_of, is_settled_by, name_of, set_aside
from tables.unstorable import halve, may_be_of_the_input

MAX_GROUP_EVENTS = 2_000
MAX_GROUP_BYTES = 8_000_000
# More events in a statement would hold the event loop. After a time-out there are fewer.
MAX_AT_ONCE = 5_000
# Three colliding workers can deadlock repeatedly unless they retry at different times.
DEADLOCK_TRIES = 8
DEADLOCK_WAIT_SECONDS = 0.01
MAX_RETRY_AFTER_SECONDS = 60
# The weight of the newest group in the moving average of the commit rate.
NEWEST_WEIGHT = 0.2


class QueueFullError(HeadraceError):
    """Too many events are waiting to be written; retry later."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds
        """Seconds until the events that are waiting now should be written."""


class GroupCommit:
    """Writes events of many requests to the outbox, in groups. `committed` is called after each commit."""

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
        self._comparisons = Comparisons(database, max_bytes=max_queued_bytes)
        self._queue: deque[Submission] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._at_once = AdaptiveSize(MAX_AT_ONCE)
        self._events_per_second = 0.0
        self._group_started = 0.0

    async def submit(
        self, events: Sequence[ParsedEvent], *, all_or_nothing: bool = False, caller: str = ""
    ) -> list[Outcome]:
        """Write the events of one request in one commit, and return the outcome of each, in the same order.

        `caller` is the id of the caller who sent them; empty if anybody may send. It is stored beside each event.
        With `all_or_nothing`, none of the events is stored if any is refused, and the commit is not shared with other
        requests. Raises QueueFullError, or DependencyAwayError if PostgreSQL did not confirm the commit. The outcome is
        then unknown, and the same events may be submitted again.
        """
        if self._disk_space.is_full:
            raise DatabaseFullError
        submission = Submission(events, all_or_nothing=all_or_nothing, caller=caller)
        if self._queue and (
            self.queued_events + len(events) > self._max_queued_events
            or self.queued_bytes + submission.size_bytes > self._max_queued_bytes
        ):
            raise QueueFullError(self._retry_after_seconds())
        self._queue.append(submission)
        self.queued_events += len(events)
        self.queued_bytes += submission.size_bytes
        if self._writer is None:
            self._group_started = time.monotonic()
            self._writer = asyncio.create_task(self._write())
        await submission.future
        if submission.undecided and not all_or_nothing:
            await self._decide(submission)
        return submission.outcomes

    async def _decide(self, submission: Submission, connection: AnyConnection | None = None) -> None:
        """Compare documents: on the connection of an open transaction, or beside the commits."""
        undecided = [submission.events[index] for index in sorted(submission.undecided)]
        try:
            same = await self._comparisons.compare(undecided, connection)
        except ComparisonsBusyError:
            raise QueueFullError(self._retry_after_seconds()) from None
        submission.decide(same)

    def check_room(self) -> None:
        """Raise the errors that `submit` would raise for any event, so that callers need not read a body first."""
        if self._disk_space.is_full:
            raise DatabaseFullError
        if self.queued_events >= self._max_queued_events or self.queued_bytes >= self._max_queued_bytes:
            raise QueueFullError(self._retry_after_seconds())

    def _retry_after_seconds(self) -> int:
        """The queue length divided by the commit rate, and at least as long as the current commit has been running."""
        waiting = self.queued_events / self._events_per_second if self._events_per_second else 0.0
        running = time.monotonic() - self._group_started
        return min(max(math.ceil(max(waiting, running)), 1), MAX_RETRY_AFTER_SECONDS)

    async def _write(self) -> None:
        try:
            while self._queue:
                group = self._take_group()
                self._group_started = time.monotonic()
                try:
                    if DOOR_TAKEN.armed:
                        await DOOR_TAKEN.passed()
                    async with self._database.acquire("door") as connection:
                        await self._commit_apart(connection, group)
                    if DOOR_COMMITTED.armed:
                        await DOOR_COMMITTED.passed()
                except Exception as error:  # noqa: BLE001 - any error is raised in the waiting requests
                    self._fail(group, error)
                else:
                    self._note_rate(sum(len(submission.events) for submission in group))
                    self._committed()
                    for submission in group:
                        if not submission.future.done():
                            submission.future.set_result(None)
        finally:
            self._writer = None

    def _take_group(self) -> list[Submission]:
        group: list[Submission] = []
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
        self._events_per_second += (rate - self._events_per_second) * (
            NEWEST_WEIGHT if self._events_per_second else 1.0
        )

    def _fail(self, group: list[Submission], error: Exception) -> None:
        """Fail a group, and the whole queue if PostgreSQL is unreachable or its disk is full."""
        self._disk_space.note_error(error)
        if self._disk_space.is_full or isinstance(error, OSError):
            group.extend(self._queue)
            self._queue.clear()
            self.queued_events = self.queued_bytes = 0
        if self._disk_space.is_full:
            error = DatabaseFullError()
        elif is_away(error):
            error = DependencyAwayError(f"PostgreSQL is unavailable ({type(error).__name__}).")
        for submission in group:
            if not submission.future.done():
                submission.future.set_exception(error)

    async def _commit_apart(self, connection: AnyConnection, group: list[Submission]) -> None:
        """Commit a group. An unforeseen error fails the request that causes it, and no other request."""
        try:
            await self._commit_as_asked(connection, group)
        except Exception as error:
            if not may_be_of_the_input(error):
                raise
            if len(group) == 1:
                self._fail(group, error)
                return
            middle = len(group) // 2
            await self._commit_apart(connection, group[:middle])
            await self._commit_apart(connection, group[middle:])

    async def _commit_as_asked(self, connection: AnyConnection, group: list[Submission]) -> None:
        if not group[0].all_or_nothing:
            await self._commit(connection, group)
            return
        transaction = connection.transaction()
        await transaction.start()
        try:
            await self._commit(connection, group)
            if group[0].undecided:
                await self._decide(group[0], connection)
        except BaseException:
            await transaction.rollback()
            raise
        if REFUSALS.isdisjoint(group[0].outcomes):
            await transaction.commit()
        else:
            await transaction.rollback()

    async def _commit(self, connection: AnyConnection, group: list[Submission]) -> None:
        """Write a group. If a (source, id) occurs repeatedly in it, only the first is sent to the database.

        Where it refuses the first, the next that differs is tried in its place.
        """
        places = [(submission, index) for submission in group for index in range(len(submission.events))]
        while places:
            first: dict[tuple[str, str], Place] = {}
            again = [place for place in places if first.setdefault(name_of(place), place) is not place]
            await self._accept(connection, list(first.values()))
            places = [place for place in again if not is_settled_by(first[name_of(place)], place)]

    async def _accept(self, connection: AnyConnection, places: Sequence[Place]) -> None:
        """Write events in one statement; if PostgreSQL refuses any of them, write the halves separately.

        After a statement that took too long, the next statements have fewer events.
        """

        async def write(part: Sequence[Place]) -> None:
            events = [submission.events[index] for submission, index in part]
            for place, same in (await _accept_with_retry(connection, events, callers_of(part))).items():
                submission, index = part[place]
                if same is None:
                    submission.undecided.add(index)
                else:
                    submission.outcomes[index] = Outcome.DUPLICATE if same else Outcome.CONFLICT

        left = places
        while left:
            part, left = left[: self._at_once.events], left[self._at_once.events :]
            try:
                await halve(part, write, set_aside)
            except TIMED_OUT:
                self._at_once.note_time_out(len(part))
                raise
            self._at_once.note_done()


async def _accept_with_retry(
    connection: AnyConnection, events: Sequence[ParsedEvent], callers: Callers
) -> dict[int, bool | None]:
    """Retry after a deadlock, which happens if two workers write the same events in different orders."""
    for wait in islice(backoff_seconds(first=DEADLOCK_WAIT_SECONDS), DEADLOCK_TRIES - 1):
        try:
            return await _accept_once(connection, events, callers)
        except asyncpg.TransactionRollbackError:
            await asyncio.sleep(wait)
    return await _accept_once(connection, events, callers)


async def _accept_once(
    connection: AnyConnection, events: Sequence[ParsedEvent], callers: Callers
) -> dict[int, bool | None]:
    if not connection.is_in_transaction():
        return await outbox.accept(connection, events, callers)
    async with connection.transaction():  # a savepoint: an error here must not undo earlier writes
        return await outbox.accept(connection, events, callers)
