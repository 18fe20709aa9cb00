"""Group commit into the outbox: events that arrive together share one statement and one commit.

The first waits for nobody; those that come while a commit is under way share the next one. One commit at a time in
a worker, so the order of `seq` is the order in which events were taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum

import asyncpg

from app.envelope import Event
from app.errors import DependencyAwayError, HeadraceError
from app.fault_points import DOOR_COMMITTED, DOOR_TAKEN
from tables import outbox
from tables.database import AnyConnection, Database, is_away

MAX_GROUP_EVENTS = 2_000
MAX_GROUP_CHARACTERS = 8_000_000
MAX_QUEUED_CHARACTERS = 64_000_000
DEADLOCK_TRIES = 3


class Outcome(Enum):
    """What became of an event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNSTORABLE = "unstorable"


class QueueFullError(HeadraceError):
    """Too many events wait to be written; the same request may succeed in a moment."""


class _Submission:
    """The events of one request; they are written in one commit."""

    __slots__ = ("characters", "events", "future", "outcomes")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.characters = sum(len(event.text) for event in events)
        self.outcomes: list[Outcome] = [Outcome.ACCEPTED] * len(events)
        self.future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()


class GroupCommit:
    """Takes events from many requests and writes them to the outbox. `committed` is called after each commit."""

    def __init__(self, database: Database, *, max_queued_events: int, committed: Callable[[], None]) -> None:
        self._database = database
        self._max_queued_events = max_queued_events
        self._committed = committed
        self._queue: deque[_Submission] = deque()
        self._queued_events = 0
        self._queued_characters = 0
        self._writer: asyncio.Task[None] | None = None

    async def submit(self, events: Sequence[Event]) -> list[Outcome]:
        """Write the events of one request, all in one commit; what became of each, in the order sent.

        Raises QueueFullError, or DependencyAwayError when PostgreSQL did not say that it is committed: then nobody
        knows, and the same events may be submitted again.
        """
        submission = _Submission(events)
        if self._queue and (
            self._queued_events + len(events) > self._max_queued_events
            or self._queued_characters + submission.characters > MAX_QUEUED_CHARACTERS
        ):
            raise QueueFullError
        self._queue.append(submission)
        self._queued_events += len(events)
        self._queued_characters += submission.characters
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        return await submission.future

    async def _write(self) -> None:
        try:
            while self._queue:
                group = self._take_group()
                try:
                    if DOOR_TAKEN.armed:
                        await DOOR_TAKEN.passed()
                    async with self._database.acquire() as connection:
                        await self._commit(connection, group)
                    if DOOR_COMMITTED.armed:
                        await DOOR_COMMITTED.passed()
                except Exception as error:  # noqa: BLE001 - whatever it is belongs to the requests that wait
                    self._fail(group, error)
                else:
                    self._committed()
                    for submission in group:
                        if not submission.future.done():
                            submission.future.set_result(submission.outcomes)
        finally:
            self._writer = None

    def _take_group(self) -> list[_Submission]:
        group: list[_Submission] = []
        events = characters = 0
        while self._queue and (not group or (events < MAX_GROUP_EVENTS and characters < MAX_GROUP_CHARACTERS)):
            submission = self._queue.popleft()
            group.append(submission)
            events += len(submission.events)
            characters += submission.characters
        self._queued_events -= events
        self._queued_characters -= characters
        return group

    def _fail(self, group: list[_Submission], error: Exception) -> None:
        if is_away(error):
            error = DependencyAwayError(f"PostgreSQL does not answer ({type(error).__name__}).")
        for submission in group:
            if not submission.future.done():
                submission.future.set_exception(error)

    async def _commit(self, connection: AnyConnection, group: list[_Submission]) -> None:
        """Write a group; an event that comes twice in it waits for the next statement, and finds the first."""
        places = [(submission, index) for submission in group for index in range(len(submission.events))]
        while places:
            first: dict[tuple[str, str], tuple[_Submission, int]] = {}
            again = []
            for submission, index in places:
                event = submission.events[index]
                if first.setdefault((event.source, event.id), (submission, index)) != (submission, index):
                    again.append((submission, index))
            await self._accept(connection, list(first.values()))
            places = again

    async def _accept(self, connection: AnyConnection, places: list[tuple[_Submission, int]]) -> None:
        """One statement; when PostgreSQL refuses an event, the halves are written on their own."""
        events = [submission.events[index] for submission, index in places]
        try:
            known = await _accept_with_retry(connection, events)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError):
            if len(places) == 1:
                submission, index = places[0]
                submission.outcomes[index] = Outcome.UNSTORABLE
                return
            half = len(places) // 2
            await self._accept(connection, places[:half])
            await self._accept(connection, places[half:])
            return
        for place, same in known.items():
            submission, index = places[place]
            submission.outcomes[index] = Outcome.DUPLICATE if same else Outcome.CONFLICT


async def _accept_with_retry(connection: AnyConnection, events: Sequence[Event]) -> dict[int, bool]:
    """Two doors that take the same events in another order at the same time: one of them is told to try again."""
    for _ in range(DEADLOCK_TRIES - 1):
        try:
            return await outbox.accept(connection, events)
        except asyncpg.TransactionRollbackError:
            continue
    return await outbox.accept(connection, events)
