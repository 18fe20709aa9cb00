"""Applies stored events that the topic does not deliver, and notices that the database was moved.

Guarantee: projections get every stored event, whoever else is in the consumer group or writes to the topic, and
whatever the topic has lost. The progress decides which events are applied, so this and the agents may process the same
events concurrently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agents.background import Background
from agents.kafka.authority import Authority
from agents.projector.projector import Projector
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.waiting import WakeUp
from tables.database import Database, is_away
from tables.history import epochs
from tables.projections import undelivered
from tables.projections.undelivered import Behind

INTERVAL_SECONDS = 1.0
QUIET_SECONDS = 3.0
"""How long a partition with events to apply may not move. Longer than a batch usually takes, and most rebalances."""

log = ActionLog(__name__)


class _Seen(NamedTuple):
    position: int
    since: float


class UndeliveredEvents(Background):
    """Runs in every event handler; concurrent runs only cost time."""

    def __init__(self, source: Database, projectors: Mapping[str, Projector[Any]], authority: Authority) -> None:
        super().__init__()
        self._source = source
        self._projectors = projectors
        self._authority = authority
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._wake_up = WakeUp()

    def wake(self) -> None:
        self._wake_up.set()

    async def run(self) -> None:
        while not self.should_stop:
            for one in self._quiet(await self._behind()):
                # A batch that hangs is the concern of the stall detector.
                if not self._projectors[one.projection].is_applying:
                    await self._fill(one)
            await self._wake_up.wait(INTERVAL_SECONDS)

    async def _behind(self) -> list[Behind]:
        """What is not applied; first what is known of the database is compared with the database."""
        names = list(self._projectors)
        async with self._source.acquire() as connection:
            state = await epochs.state(connection)
            if state.epoch != (await self._authority.timeline(connection)).epoch:
                await self._authority.refreshed(connection)
            for one in await undelivered.ahead(connection, names):
                self.throttled.error(
                    LogAction.PROJECTION_AHEAD,
                    "Projection {projection}: the progress of partition {partition} is {position}, but the event store "
                    "ends at {last_position}. New events are not applied until the projection is computed from the "
                    "start; see docs/restore.md",
                    projection=one.projection,
                    partition=one.partition,
                    position=one.position,
                    last_position=one.last_position,
                )
            return await undelivered.behind(connection, names)

    def _quiet(self, behind: list[Behind]) -> list[Behind]:
        """Those that have not moved for QUIET_SECONDS."""
        now, before = self.loop.time(), self._seen
        self._seen = {}
        quiet = []
        for one in behind:
            place = one.projection, one.partition
            seen = before.get(place)
            if seen is None or seen.position != one.position:
                seen = _Seen(one.position, now)
            self._seen[place] = seen
            if now - seen.since >= QUIET_SECONDS:
                quiet.append(one)
        return quiet

    async def _fill(self, one: Behind) -> None:
        self.throttled.warning(
            LogAction.EVENTS_UNDELIVERED,
            "Projection {projection}: the topic has not delivered the events of partition {partition} up to position "
            "{position}; reading them from the event store. Check Kafka, and that no other installation is in "
            "CONSUMER_GROUP",
            projection=one.projection,
            partition=one.partition,
            position=one.last_position,
        )
        try:
            await self._projectors[one.projection].catch_up_with(one.partition, one.last_position)
        except Exception as error:
            if is_away(error):
                raise
            self.throttled.warning(
                LogAction.PROJECTION_RETRYING,
                "Projection {projection}: reading from the event store failed, retrying in {seconds:.1f} s: {error}",
                projection=one.projection,
                seconds=INTERVAL_SECONDS,
                error=error,
            )
