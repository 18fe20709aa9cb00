"""Compares the outbox with the event store."""

from __future__ import annotations

from agents.verify.column_check import wrong_columns
from agents.verify.findings import Findings
from agents.verify.topic_check import VerifiedTopic
from tables.history.snapshot import Snapshot, WaitingRow

ROWS_AT_ONCE = 2_000
OLD_SECONDS = 60.0


class VerifiedOutbox:
    """Checks the rows of the outbox, and collects the events that need not be on the topic yet."""

    def __init__(self, snapshot: Snapshot, findings: Findings) -> None:
        self._snapshot = snapshot
        self._findings = findings
        self._stored_long_ago: dict[int, int] = {}
        self.stored: set[int] = set()
        """The positions of stored events that are still in the outbox."""

    async def check(self) -> None:
        """Compare each row with its event, and with the event store if it is stored."""
        for source, event_id, times in await self._snapshot.duplicates_in_outbox():
            self._findings.differ("outbox_doubled", f"outbox: source {source!r}, id {event_id!r} occurs {times} times")
        after = 0
        while rows := await self._snapshot.waiting(after, ROWS_AT_ONCE, old_seconds=OLD_SECONDS):
            after = rows[-1].seq
            self._findings.count("rows of the outbox", len(rows))
            for row in rows:
                self._check(row)

    def overdue(self, topic: VerifiedTopic) -> list[int]:
        """The `seq` of rows that were stored over OLD_SECONDS ago and are on the topic, so should be deleted soon."""
        return [seq for seq, position in self._stored_long_ago.items() if topic.has(position)]

    def _check(self, row: WaitingRow) -> None:
        where = f"outbox, seq {row.seq} (source {row.source!r}, id {row.id!r})"
        if wrong := wrong_columns(row):
            self._findings.differ("outbox_columns", f"{where}: {', '.join(wrong)} and the event differ")
        if row.position is None:
            return
        self.stored.add(row.position)
        if not row.same:
            self._findings.differ(
                "outbox_differs", f"{where}: the event store has different content at position {row.position}"
            )
        if row.is_old:
            self._stored_long_ago[row.seq] = row.position
