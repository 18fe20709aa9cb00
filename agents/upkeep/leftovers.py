"""Names what the database has of projections that the code no longer has: in the log at start, and as a metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.background import Background
from headrace.process import metrics
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.metrics import Sample
from headrace.process.waiting import WakeUp
from tables.database import Database
from tables.projections import leftovers
from tables.projections.leftovers import Leftover

INTERVAL_SECONDS = 300.0

log = ActionLog(__name__)


class Leftovers(Background):
    """Reads at start, and then every five minutes for the metric; a projection is named in the log once."""

    def __init__(
        self, source: Database, projections: Sequence[str], *, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        super().__init__()
        self._source = source
        self._projections = projections
        self._interval_seconds = interval_seconds
        self._wake_up = WakeUp()
        self._found: list[Leftover] = []
        self._named: set[str] = set()

    def wake(self) -> None:
        self._wake_up.set()

    async def run(self) -> None:
        while not self.should_stop:
            async with self._source.acquire() as connection:
                self._found = await leftovers.leftovers(connection, self._projections)
            self._name(self._found)
            await self._wake_up.wait(self._interval_seconds)

    def samples(self) -> Iterator[Sample]:
        """What was found last."""
        for one in self._found:
            yield Sample(metrics.LEFTOVER_ROWS, one.rows, (one.projection,))
            yield Sample(metrics.LEFTOVER_PARKED, one.parked, (one.projection,))

    def _name(self, found: Sequence[Leftover]) -> None:
        new = [one for one in found if one.projection not in self._named]
        self._named = {one.projection for one in found}
        if not new:
            return
        text = (
            "The database has projections that were removed or renamed: {projections}. faust -A app forget removes one"
        )
        log.warning(LogAction.PROJECTION_LEFT_OVER, text, projections="; ".join(map(str, new)))
