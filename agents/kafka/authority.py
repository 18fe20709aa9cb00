"""What the database says about the records on the topic, as this worker knows it; shared by its projectors."""

from __future__ import annotations

from collections import Counter

from agents.kafka.fetch_batches import CheckedBatch, RecordBatch
from headrace.events.genuine_records import PassedOver, Reason
from headrace.events.origin import Timeline
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from tables.database import AnyConnection
from tables.history import epochs

log = ActionLog(__name__)

WHY: dict[Reason, str] = {
    Reason.FOREIGN: "installation {installation} wrote it. "
    "Give each installation a TOPIC and a CONSUMER_GROUP of its own",
    Reason.FORGED: "it names this installation, but its signature is wrong. Find out which program writes to the topic",
    Reason.ABANDONED: "it is of a state of the database that a restore has replaced, or of a copy of the database. "
    "Give a copy a TOPIC of its own",
    Reason.AHEAD: "the event store does not have position {position}. "
    "The database was restored from an older copy, or lost commits",
    Reason.UNSIGNED: "it has no header headrace-origin: a worker of an earlier version wrote it, or another program. "
    "Events are read from the event store instead",
}


class Authority:
    """Checks fetches, and counts and names the records that are passed over."""

    def __init__(self) -> None:
        self.passed_over: Counter[Reason] = Counter()
        """Since the start of the worker, for metrics; a record that is fetched again counts again."""
        self._timeline: Timeline | None = None
        self._unknown_epochs: set[int] = set()
        self._throttled = {reason: ThrottledLog(log) for reason in WHY}

    async def timeline(self, connection: AnyConnection) -> Timeline:
        """The timeline as it is known; the database is asked the first time only."""
        return self._timeline or await self.refreshed(connection)

    async def refreshed(self, connection: AnyConnection) -> Timeline:
        """Ask the database: after a failure, and whenever it may have been moved."""
        found = await epochs.read(connection)
        if self._timeline is None or found.epoch != self._timeline.epoch:
            self._unknown_epochs.clear()
        if found != self._timeline:
            self._timeline = found
        return self._timeline

    async def check(
        self, connection: AnyConnection, batch: RecordBatch, up_to: int | None = None
    ) -> tuple[CheckedBatch, Timeline]:
        """The genuine events of a fetch, by the returned timeline. With `up_to`, none beyond that position."""
        timeline = await self.timeline(connection)
        checked = batch.checked(timeline, up_to)
        if checked.passed_over and (unknown := checked.unknown_epochs(timeline) - self._unknown_epochs):
            timeline = await self.refreshed(connection)
            checked = batch.checked(timeline, up_to)
            self._unknown_epochs |= unknown - timeline.ends.keys()
        if checked.passed_over:
            self._report(batch, checked)
        return checked, timeline

    def _report(self, batch: RecordBatch, checked: CheckedBatch) -> None:
        """Count what is passed over, once for all projectors; what is beyond the store is found at a later attempt."""
        counted = (Reason.AHEAD,) if batch.is_reported else tuple(Reason)
        batch.is_reported = True
        for partition, found in checked.passed_over.items():
            new = [one for one in found if one.reason in counted]
            self.passed_over.update(one.reason for one in new)
            for one in {one.reason: one for one in new if one.reason in WHY}.values():
                self._name(partition, one)

    def _name(self, partition: int, one: PassedOver) -> None:
        installation = one.origin.installation.hex() if one.origin else ""
        throttled = self._throttled[one.reason]
        throttled.warning(
            LogAction.RECORD_PASSED_OVER,
            "A record in partition {partition} is passed over: {reason}",
            partition=partition,
            reason=WHY[one.reason].format(installation=installation, position=one.position),
            installation=installation or None,
            position=one.position or None,
        )
