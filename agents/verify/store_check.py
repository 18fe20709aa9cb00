"""Compares the event store with itself and with the topic, and gives it to the projections to fold."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from agents.verify.column_check import wrong_columns
from agents.verify.findings import Findings, Say
from agents.verify.projection_check import VerifiedProjection
from agents.verify.topic_check import VerifiedTopic
from headrace.events.topic_record import PastEvent, Record, past_record
from tables.history.snapshot import Snapshot, StoredRow

EVENTS_AT_ONCE = 2_000
TELL_SECONDS = 5.0


class VerifiedStore:
    """One pass over the event store. `topic` is None where it is left out; `not_yet`: what it need not have yet."""

    def __init__(
        self, snapshot: Snapshot, topic: VerifiedTopic | None, not_yet: Collection[int], findings: Findings
    ) -> None:
        self._snapshot = snapshot
        self._topic = topic
        self._not_yet = not_yet
        self._findings = findings
        self._lasts: dict[int, int] = {}

    async def check(self, projections: Sequence[VerifiedProjection], last_position: int, say: Say) -> None:
        """Each row against its own event, the one before it, and the topic; and fold it into each projection."""
        await self._check_whole()
        after, told = 0, time.monotonic()
        while rows := await self._snapshot.stored(after, EVENTS_AT_ONCE):
            held_back = await self._snapshot.held_back(after, rows[-1].position)
            records = [record for row in rows if (record := self._record(row))]
            for before, row in zip([after, *(row.position for row in rows)], rows, strict=False):
                self._check_row(row, before, last_position)
            for projection in projections:
                projection.apply(records, [one for one in held_back if one.projection == projection.name])
            after = rows[-1].position
            self._findings.count("events of the store", len(rows))
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                say(f"event store: {after} of {last_position}")
        if after < last_position:
            self._findings.differ("store_gap", f"event_store: positions {after + 1} to {last_position} are not there")
        self._check_partitions(await self._snapshot.partitions())

    async def _check_whole(self) -> None:
        if not await self._snapshot.is_guarded():
            self._findings.differ("store_guard", "event_store: the trigger that refuses changes is off")
        for source, event_id, times in await self._snapshot.doubled_in_store():
            self._findings.differ(
                "store_doubled", f"event_store: source {source!r}, id {event_id!r} is there {times} times"
            )

    def _check_row(self, row: StoredRow, before: int, last_position: int) -> None:
        if row.position != before + 1:
            self._findings.differ(
                "store_gap", f"event_store: positions {before + 1} to {row.position - 1} are not there"
            )
        if row.position > last_position:
            self._findings.differ(
                "store_beyond", f"event_store: position {row.position}; the last one given out is {last_position}"
            )
        if wrong := wrong_columns(row):
            self._findings.differ(
                "store_columns", f"event_store, position {row.position}: {', '.join(wrong)} and the event do not agree"
            )
        self._lasts[row.partition] = row.position
        self._check_published(row)

    def _check_published(self, row: StoredRow) -> None:
        if self._topic is None or row.position in self._not_yet or self._topic.has(row.position):
            return
        if self._topic.may_have_forgotten(row.position, row.partition):
            self._findings.count("events that are older than what the topic keeps")
            return
        self._findings.differ(
            "topic_missing",
            f"the event at position {row.position} (source {row.source!r}, id {row.id!r}) is not on partition "
            f"{row.partition} of the topic, nor in the outbox",
        )

    def _record(self, row: StoredRow) -> Record | None:
        record = past_record(PastEvent(row.position, row.partition, row.event))
        if record is None:
            self._findings.differ("store_unreadable", f"event_store, position {row.position}: the event cannot be read")
        return record

    def _check_partitions(self, noted: dict[int, int]) -> None:
        for partition in sorted(self._lasts.keys() | noted.keys()):
            if self._lasts.get(partition) != noted.get(partition):
                self._findings.differ(
                    "partition_end",
                    f"partition {partition}: topic_partitions has {noted.get(partition)} as its last position, "
                    f"event_store {self._lasts.get(partition)}",
                )
