"""Refolds a projection from the event store and compares the result with its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agents.verify.findings import Findings
from agents.verify.refolded_rows import FoldedRow, FoldedRows
from agents.verify.state_difference import described, ordered, read
from headrace.events.topic_record import Record
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.folding import Chosen, Folding
from headrace.folding.parked_groups import Group
from headrace.folding.rows import ReadRow
from headrace.folding.state_json import StateError
from headrace.projection import Projection
from tables.history.snapshot import FoundRow, HeldBack, Snapshot

ROWS_AT_ONCE = 5_000


class VerifiedProjection:
    """The fold of all events up to the progress, without parked and discarded events."""

    def __init__(
        self, projection: Projection[Any], progress: Mapping[int, int], folded: FoldedRows, findings: Findings
    ) -> None:
        self.name = projection.name
        self._folding = Folding(projection)
        self._progress = progress
        self._folded = folded
        self._findings = findings
        self._parked_from: dict[tuple[int, Group], int] = {}

    def apply(self, records: Sequence[Record], held_back: Sequence[HeldBack]) -> None:
        """Fold the next events of the event store; `held_back` lists those that are parked or discarded."""
        left_out = {one.position for one in held_back}
        partitions = {record.position: record.partition for record in records}
        for one in held_back:
            if one.waits and one.position in partitions:
                self._parked_from.setdefault((partitions[one.position], one.group), one.position)
        applied = [
            record
            for record in records
            if record.position not in left_out and record.position <= self._progress.get(record.partition, 0)
        ]
        chosen, unreadable = self._folding.choose(applied)
        for wrong in unreadable:
            self._report_unparked(wrong.position, wrong.error)
        for event in chosen:
            self._check_turn(event, partitions[event.event.position])
        self._fold(chosen, applied)

    def _check_turn(self, event: Chosen, partition: int) -> None:
        for group in (Group(event.key), Group(event.partition_key, key_is_known=False)):
            parked = self._parked_from.get((partition, group), event.event.position)
            if parked < event.event.position:
                self._findings.differ(
                    "overtaken",
                    f"{self.name}: the event at position {event.event.position} was applied before the event parked "
                    f"at position {parked} (key {group.key!r})",
                )

    def _fold(self, chosen: Sequence[Chosen], records: Sequence[Record]) -> None:
        before = self._folded.read(self.name, {event.key for event in chosen})
        states: dict[str, Any] = {
            key: self._folding.cached_row(ReadRow(row.state, row.position, 1)).state for key, row in before.items()
        }
        changed, failed = self._folding.fold(states, chosen, BlockedGroups())
        for event in failed:
            if event.attempts:
                self._report_unparked(event.position, event.error)
        try:
            self._folding.restore(states, {key: row.state for key, row in before.items()}, records, failed)
        except StateError as error:
            self._findings.differ("not_pure", f"{self.name}: {error}")
        rows, gone = [], []
        for key, position in changed.items():
            if states[key] is None:
                gone.append(key)
                continue
            last = max(position, before[key].position) if key in before else position
            try:
                rows.append(FoldedRow(key, self._folding.states.encode(states[key]), last))
            except StateError as error:
                self._report_unparked(position, str(error))
        self._folded.write(self.name, rows, gone)

    def _report_unparked(self, position: int, error: str) -> None:
        self._findings.differ(
            "not_parked",
            f"{self.name}: the event at position {position} cannot be applied ({error}), but is not parked",
        )

    async def compare(self, snapshot: Snapshot) -> None:
        """Compare all rows with the fold, merging both in order of key."""
        expected = self._folded.in_order(self.name)
        wanted = next(expected, None)
        after: str | None = None
        while found := await snapshot.rows(self.name, after, ROWS_AT_ONCE):
            after = found[-1].key
            self._findings.count(f"rows of {self.name}", len(found))
            for row in found:
                wanted = self._missing_before(row.key, wanted, expected)
                if wanted is None or wanted.key != row.key:
                    self._findings.differ("row_unexpected", f"{self.name}: unexpected row {row.key!r}: {row.state}")
                else:
                    self._compare(row, wanted)
                    wanted = next(expected, None)
        self._missing_before(None, wanted, expected)

    def _missing_before(
        self, key: str | None, wanted: FoldedRow | None, expected: Iterator[FoldedRow]
    ) -> FoldedRow | None:
        while wanted is not None and (key is None or wanted.key.encode() < key.encode()):
            self._findings.differ("row_missing", f"{self.name}: missing row {wanted.key!r}: {wanted.state}")
            wanted = next(expected, None)
        return wanted

    def _compare(self, row: FoundRow, wanted: FoldedRow) -> None:
        if not self._is_same(row.state, wanted.state):
            self._findings.differ("row_differs", f"{self.name}, row {row.key!r}: {described(row.state, wanted.state)}")
        elif row.position != wanted.position:
            self._findings.differ(
                "row_position_differs",
                f"{self.name}: row {row.key!r} has position {row.position}; "
                f"the last event that changed it is at {wanted.position}",
            )

    def _is_same(self, row: str, wanted: str) -> bool:
        """Whether two states are equal. A set may be in any order: versions before wrote it as it was in memory."""
        one, other = read(row), read(wanted)
        return one == other or (ordered(one) == ordered(other) and self._folding.states.same(row, wanted))
