"""What services share, for tests that open their ports and run nothing else of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.services.access import Access
from app.services.shared import Shared
from app.setting_groups.postgres import Part
from app.settings import Settings
from app.worker.broker_address import kafka_access
from app.worker.databases import Databases
from headrace.process.metrics import Metrics
from headrace.process.parts import Parts
from headrace.projection import Projection
from tables.database import Database
from tables.intake.disk_space import DiskSpace
from web.server.metrics import DatabaseSamples, MetricsView


class OneDatabase(Databases):
    """A pool that is open, for all parts."""

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__(settings)
        self._database = database

    def of(self, part: Part) -> Database:
        return self._database


def shared_parts(settings: Settings, projections: Sequence[Projection[Any]], database: Database) -> Shared:
    """What the composition root would make."""
    names = [one.name for one in projections]
    metrics = MetricsView(Metrics(), DatabaseSamples(database, names, stalled_after_seconds=60.0))
    return Shared(
        settings,
        projections,
        OneDatabase(settings, database),
        kafka_access(settings),
        DiskSpace(),
        metrics,
        Parts(),
        Access(settings, database, metrics),
    )
