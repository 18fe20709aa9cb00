"""What all services of a worker share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from agents.kafka.access import KafkaAccess
from app.services.access import Access
from app.settings import Settings
from app.worker.databases import Databases
from headrace.process.parts import Parts
from headrace.projection import Projection
from tables.intake.disk_space import DiskSpace
from web.server.metrics import MetricsView


class Shared(NamedTuple):
    """Made once by the composition root, before the services."""

    settings: Settings
    projections: Sequence[Projection[Any]]
    databases: Databases
    kafka: KafkaAccess
    disk_space: DiskSpace
    metrics: MetricsView
    parts: Parts
    access: Access

    @property
    def names(self) -> list[str]:
        """Of the projections."""
        return [projection.name for projection in self.projections]
