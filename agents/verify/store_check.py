"""Checks the event store in itself and against the topic, and passes its events to the projections to fold."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from agents.verify.column_check import wrong_columns
from agents.verify.findings import Findings, Say
from agents.verify.projection_check import VerifiedProjection
from agents.verify.topic_check import VerifiedTopic
from headrace.events.topic_record import PastEvent, Record, is_whole, past_record
from tables.history.snapshot import Snapshot, StoredRow

EVENTS_AT_ONCE = 2_000
PROGRESS_SECONDS = 5.0


class VerifiedStore:
    """A pass over the event store. `topic` is None if it is skipped; it may lack the positions in `unpublished`."""

    def __init__(
        self, snapshot: Snapshot, topic: VerifiedTopic | None, unpublished: Collection[int], findings: Findings
    ) -> None:
        self._snapshot = snapshot
        self._topic = topic
        self._unpublished = unpublished
        self._findings = findings
        self._lasts: dict[int, int] = {}

    async def check(self, projections: Sequence[VerifiedProjection], last_position: int, say: Say) -> None:
        """Compare each row with its event, the row before it and the topic, and fold it into each projection.

        Calls `say` with the progress every PROGRESS_SECONDS.
        """
        await self._check_whole()
        after, last_report = 0, time.monotonic()
        while rows := await self._snapshot.stored(after, EVENTS_AT_ONCE):
            held_back = await self._snapshot.held_back(after, rows[-1].position)
            records = [record for row in rows if (record := self._record(row))]
            for before, row in zip([after, *(row.position for row in rows)], rows, strict=False):
                self._check_row(row, before, last_position)
            for projection in projections:
                projection.apply(records, [one for one in held_back if one.projection == projection.name])
            after = rows[-1].position
            self._findings.count("events of the store", len(rows))
            if time.monotonic() - last_report > PROGRESS_SECONDS:
                last_report = time.monotonic()
                say(f"event store: {after} of {last_position}")
        if after < last_position:
            self._findings.differ("store_gap", f"event_store: positions {after + 1} to {last_position} are missing")
        self._check_partitions(await self._snapshot.partitions())

    async def _check_whole(self) -> None:
        if not await self._snapshot.is_guarded():
            self._findings.differ("store_guard", "event_store: the trigger that refuses changes is disabled")
        for source, event_id, times in await self._snapshot.duplicates_in_store():
            self._findings.differ(
                "store_doubled", f"event_store: source {source!r}, id {event_id!r} occurs {times} times"
            )

    def _check_row(self, row: StoredRow, before: int, last_position: int) -> None:
        if row.position != before + 1:
            self._findings.differ("store_gap", f"event_store: positions {before + 1} to {row.position - 1} are missing")
        if row.position > last_position:
            self._findings.differ(
                "store_beyond",
                f"event_store: position {row.position} exceeds the last assigned position {last_position}",
            )
        if wrong := wrong_columns(row):
            self._findings.differ(
                "store_columns", f"event_store, position {row.position}: {', '.join(wrong)} and the event differ"
            )
        self._lasts[row.partition] = row.position
        self._check_published(row)

    def _check_published(self, row: StoredRow) -> None:
        if self._topic is None or row.position in self._unpublished or self._topic.has(row.position):
            return
        if self._topic.was_refused(row.position):
            self._findings.count("events that Kafka refused, which are not on the topic")
            return
        if self._topic.may_have_expired(row.position, row.partition):
            self._findings.count("events that are older than what the topic keeps")
            return
        self._findings.differ(
            "topic_missing",
            f"the event at position {row.position} (source {row.source!r}, id {row.id!r}) is not on partition "
            f"{row.partition} of the topic, nor in the outbox",
        )

    def _record(self, row: StoredRow) -> Record | None:
        record = past_record(PastEvent(row.position, row.partition, row.event))
        if record is None or not is_whole(row.event):
            self._findings.differ("store_unreadable", f"event_store, position {row.position}: the event cannot be read")
        return record

    def _check_partitions(self, recorded: dict[int, int]) -> None:
        for partition in sorted(self._lasts.keys() | recorded.keys()):
            if self._lasts.get(partition) != recorded.get(partition):
                self._findings.differ(
                    "partition_end",
                    f"partition {partition}: the last position is {recorded.get(partition)} in topic_partitions, but "
                    f"{self._lasts.get(partition)} in event_store",
                )
