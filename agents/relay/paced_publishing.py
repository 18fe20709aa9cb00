"""Publishes in pieces that Kafka acknowledges within seconds, while the relay's session at PostgreSQL is kept alive.

PostgreSQL ends the session of a relay that is idle for too long, and another relay takes over. So a heartbeat runs on
the relay's connection while a piece is published, which is the only time when nothing else uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

from agents.relay.publisher import Publisher
from headrace.errors import DependencyAwayError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from tables import database
from tables.database import AnyConnection
from tables.intake import unpublished
from tables.intake.outbox import MAX_ROUND_BYTES, StoredEvent
from tables.intake.unpublished import Refused

Answer = TypeVar("Answer")

HEARTBEAT_SECONDS = 5.0
# After a slower piece, pieces shrink; after a quicker piece, they grow.
SLOW_SECONDS = 3.0
QUICK_SECONDS = 1.0
MIN_PIECE_BYTES = 100_000
AFTER_AN_ERROR = 4

log = ActionLog(__name__)


class Piece(NamedTuple):
    """The first events of a round, with which the relay is done."""

    done: int
    """How many."""
    refused: Sequence[Refused]
    """Those that the broker refused."""


class PacedPublisher:
    """A publisher whose pieces shrink while Kafka is slow; what the broker refuses is set aside."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.piece_bytes = MAX_ROUND_BYTES
        self._throttled = ThrottledLog(log)

    async def publish_next(self, connection: AnyConnection, events: Sequence[StoredEvent]) -> Piece:
        """Publish the first events, at least one.

        Those that the broker refuses are recorded in `unpublished`. Raises the errors of
        `Publisher.publish`, and DependencyAwayError if PostgreSQL is away.
        """
        count = self._count(events)
        piece = events if count == len(events) else events[:count]
        started = asyncio.get_running_loop().time()
        try:
            async with heartbeat(connection):
                refused = await self.publisher.publish(piece)
        except Exception:
            self.piece_bytes = max(self.piece_bytes // AFTER_AN_ERROR, MIN_PIECE_BYTES)
            raise
        self._adapt(asyncio.get_running_loop().time() - started)
        if refused:
            await from_database(unpublished.set_aside(connection, refused))
            self._report(refused)
        return Piece(count, refused)

    def _count(self, events: Sequence[StoredEvent]) -> int:
        size = 0
        for count, event in enumerate(events):
            size += len(event.text)
            if size > self.piece_bytes and count:
                return count
        return len(events)

    def _adapt(self, seconds: float) -> None:
        if seconds > SLOW_SECONDS:
            self.piece_bytes = max(self.piece_bytes // 2, MIN_PIECE_BYTES)
        elif seconds < QUICK_SECONDS:
            self.piece_bytes = min(self.piece_bytes * 2, MAX_ROUND_BYTES)

    def _report(self, refused: Sequence[Refused]) -> None:
        for event in refused:
            self._throttled.warning(
                LogAction.RELAY_SET_ASIDE,
                "Kafka refuses the event at position {position} ({size_bytes} bytes, partition {partition}); it is set "
                "aside, and projected from the event store: {error}",
                position=event.position,
                partition=event.partition,
                size_bytes=event.size_bytes,
                error=event.error,
            )


async def from_database(call: Awaitable[Answer]) -> Answer:
    """Await a database call; convert connection errors to DependencyAwayError, to tell them from Kafka's."""
    try:
        return await call
    except (OSError, TimeoutError) as error:
        raise DependencyAwayError from error


@asynccontextmanager
async def heartbeat(connection: AnyConnection) -> AsyncIterator[None]:
    """Run a statement on the connection every few seconds; nothing else may use it meanwhile.

    At the end, raises DependencyAwayError or the database's error if the connection was lost.
    """
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    beats: list[asyncio.Task[None]] = []
    # Most pieces are published within milliseconds: a timer costs less than a task.
    timer = loop.call_later(HEARTBEAT_SECONDS, lambda: beats.append(loop.create_task(_beat(connection, done))))
    try:
        yield
    finally:
        timer.cancel()
        done.set()
        for task in beats:
            await from_database(task)


async def _beat(connection: AnyConnection, done: asyncio.Event) -> None:
    while not done.is_set():
        await connection.execute(database.HEARTBEAT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await done.wait()
