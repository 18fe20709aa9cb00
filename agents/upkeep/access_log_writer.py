"""Writes the access log off the request path: entries wait in memory, also while PostgreSQL is away."""

from __future__ import annotations

from collections.abc import Iterator

from agents.background import Background
from headrace.access.access_log import Entry
from headrace.access.pending_entries import PendingEntries
from headrace.process import metrics
from headrace.process.log_actions import LogAction
from headrace.process.metrics import Sample
from headrace.process.waiting import WakeUp
from tables.access import access_log
from tables.database import Database, is_away

ENTRIES_AT_ONCE = 500
POLL_SECONDS = 5.0


class AccessLogWriter(Background):
    """Writes what waits, at once."""

    def __init__(self, database: Database, pending: PendingEntries) -> None:
        super().__init__()
        self._database = database
        self._pending = pending
        self._wake_up = WakeUp()
        self._reported_lost = 0
        pending.added = self._wake_up.set

    async def run(self) -> None:
        """Write entries until the worker stops, and the last of them then."""
        while not self.should_stop:
            await self._write_all()
            await self._wake_up.wait(POLL_SECONDS)
        self._pending.close()
        await self._write_all()

    def wake(self) -> None:
        """Write the last entries."""
        self._wake_up.set()

    def samples(self) -> Iterator[Sample]:
        """For the metrics."""
        yield Sample(metrics.ACCESS_LOG_WAITING, len(self._pending))
        yield Sample(metrics.ACCESS_LOG_LOST, self._pending.lost)

    async def _write_all(self) -> None:
        while entries := self._pending.take(ENTRIES_AT_ONCE):
            await self._write(entries)
        if self._pending.lost > self._reported_lost:
            text = "{count} entries of the access log were lost: PostgreSQL was away for too long"
            self._log.error(LogAction.ACCESS_LOG_LOST, text, count=self._pending.lost - self._reported_lost)
            self._reported_lost = self._pending.lost

    async def _write(self, entries: list[Entry]) -> None:
        try:
            async with self._database.acquire() as connection:
                await access_log.record(connection, *entries)
        except Exception as error:
            if is_away(error):
                self._pending.put_back(entries)
                raise
            # A bug: the entries would fail again, and they must not stop the worker.
            self._pending.lost += len(entries)
            self._log.exception(LogAction.ACCESS_LOG_FAILED, "Entries of the access log cannot be written", error)
        except BaseException:
            self._pending.put_back(entries)
            raise
