"""Follows projections for all listeners: one poll of the database serves them all; no listeners, no polling.

Guarantee: a listener that has received everything up to a point receives every row that changes after it, eventually
in its latest state. A slow listener's waiting changes are dropped from memory; it catches up from the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from headrace.errors import HeadraceError
from headrace.folding.folding import Folding
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import WakeUp, backoff_seconds
from tables.database import AnyConnection, Database, is_away
from tables.projections.changes import Change, Changes, Point, read_changes, read_points
from tables.refusals import explained

POLL_SECONDS = 0.03
EVENTS_AT_ONCE = 500
MOST_WAITING_CHANGES = 5_000
MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Of the rows that wait for a listener. All listeners of a projection share them."""
MOST_CATCHING_UP = 3

log = ActionLog(__name__)


class TooManyListenersError(HeadraceError):
    """The worker has the most listeners that it allows; try again later, or at another worker."""


class Reset(NamedTuple):
    """The listener must read all rows again, and continues from this point."""

    point: Point


class Listener:
    """The changes that wait for one listener, at most `MOST_WAITING_CHANGES` and `MOST_WAITING_BYTES`."""

    def __init__(self, point: Point) -> None:
        self.start = point
        self.is_behind = False
        """Too many changes waited and were dropped: it must catch up from the last point that it received."""
        self.is_over = False
        self._waiting: list[Change | Reset] = []
        self._waiting_bytes = 0
        self._wake_up = WakeUp()

    def tell(self, changes: Changes, size_bytes: int) -> None:
        """Let changes, whose rows have this size, wait for the listener."""
        if changes.is_reset:
            self._waiting, self._waiting_bytes = [Reset(changes.point)], 0
            self.is_behind = False
        elif self._has_room(len(changes.changes), size_bytes):
            self._waiting += changes.changes
            self._waiting_bytes += size_bytes
        else:
            self._waiting, self._waiting_bytes = [], 0
            self.is_behind = True
        if changes.changes or changes.is_reset:
            self._wake_up.set()

    def _has_room(self, changes: int, size_bytes: int) -> bool:
        return (
            len(self._waiting) + changes <= MOST_WAITING_CHANGES
            and self._waiting_bytes + size_bytes <= MOST_WAITING_BYTES
        )

    def end(self) -> None:
        """No more changes will come."""
        self.is_over = True
        self._wake_up.set()

    def catch_up(self) -> None:
        """Drop what waits, and collect the changes from now on."""
        self._waiting, self._waiting_bytes = [], 0
        self.is_behind = False

    async def take(self, seconds: float) -> list[Change | Reset]:
        """The waiting changes; empty when none came in time, the listener is behind, or the feed has ended."""
        if not self._waiting and not self.is_behind and not self.is_over:
            await self._wake_up.wait(seconds)
        taken, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return taken


class _Followed:
    """A projection with listeners."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.listeners: set[Listener] = set()


class ChangeFeed:
    """Polls the followed projections and passes changes to their listeners. A worker has one instance."""

    def __init__(self, database: Database, foldings: Mapping[str, Folding[Any]], *, most_listeners: int) -> None:
        self._database = database
        self._foldings = foldings
        self._most_listeners = most_listeners
        self._followed: dict[str, _Followed] = {}
        self._following: asyncio.Task[None] | None = None
        self._catching_up = asyncio.Semaphore(MOST_CATCHING_UP)
        self._is_closed = False
        self._throttled = ThrottledLog(log)

    def point(self, projection: str) -> Point:
        """The point of a followed projection at the last poll."""
        return self._followed[projection].point

    async def listen(self, projection: str) -> Listener:
        """Begin to collect changes, from the listener's `start`; call `leave` in the end.

        Raises TooManyListenersError, and the errors of a database that is away (see `is_away`).
        """
        if projection not in self._followed:
            async with self._database.acquire("rows") as connection:
                point = (await read_points(connection, [projection]))[projection]
            self._followed.setdefault(projection, _Followed(point))
        followed = self._followed[projection]
        if self._is_closed or sum(len(one.listeners) for one in self._followed.values()) >= self._most_listeners:
            self._forget_if_unused(projection)
            raise TooManyListenersError
        listener = Listener(followed.point)
        followed.listeners.add(listener)
        if self._following is None:
            self._following = asyncio.create_task(self._follow())
        return listener

    def leave(self, projection: str, listener: Listener) -> None:
        """Stop collecting."""
        self._followed[projection].listeners.discard(listener)
        self._forget_if_unused(projection)

    async def catch_up(self, projection: str, since: Point) -> Changes:
        """The next changes after a point, for one listener; few listeners catch up at a time."""
        async with self._catching_up, self._database.acquire("reads") as connection:
            return await self._read(connection, projection, since)

    def close(self) -> None:
        """End all listeners, and accept no more."""
        self._is_closed = True
        for followed in self._followed.values():
            for listener in followed.listeners:
                listener.end()
        if self._following is not None:
            self._following.cancel()

    def _forget_if_unused(self, projection: str) -> None:
        if not self._followed[projection].listeners:
            del self._followed[projection]

    async def _follow(self) -> None:
        waits = backoff_seconds()
        try:
            while self._followed:
                try:
                    await self._poll()
                except Exception as error:
                    if not is_away(error):
                        raise
                    text = "Change feeds wait for PostgreSQL: {error}"
                    self._throttled.warning(LogAction.POSTGRES_UNAVAILABLE, text, error=explained(error))
                    await asyncio.sleep(next(waits))
                else:
                    waits = backoff_seconds()
                    await asyncio.sleep(POLL_SECONDS)
        except Exception as error:
            # A bug: end the streams, so that clients reconnect and catch up instead of waiting in vain.
            text = "Change feeds failed; their streams end, and clients reconnect"
            log.exception(LogAction.FEED_FAILED, text, error)  # noqa: TRY401 - ours
            for followed in self._followed.values():
                for listener in followed.listeners:
                    listener.end()
        finally:
            self._following = None

    async def _poll(self) -> None:
        async with self._database.acquire("work") as connection:
            points = await read_points(connection, list(self._followed))
            for projection, point in points.items():
                while (followed := self._followed.get(projection)) is not None and followed.point != point:
                    changes = await self._read(connection, projection, followed.point)
                    followed.point = changes.point
                    size_bytes = sum(len(one.row.state) for one in changes.changes if one.row is not None)
                    for listener in followed.listeners:
                        listener.tell(changes, size_bytes)
                    if changes.is_all:
                        break

    async def _read(self, connection: AnyConnection, projection: str, since: Point) -> Changes:
        return await read_changes(connection, projection, self._foldings[projection], since, at_most=EVENTS_AT_ONCE)
