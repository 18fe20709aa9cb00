"""Who did what, and how much callers may do: shared by the ports of a worker."""

from __future__ import annotations

import time

from faust.types import ServiceT

from agents.upkeep.access_log_writer import AccessLogWriter
from app.settings import Settings
from headrace.access.pending_entries import PendingEntries
from tables.database import Database
from web.access.addresses import ClientAddresses
from web.access.who_did_what import WhoDidWhat
from web.server.metrics import MetricsView


class Access:
    """What both ports use."""

    def __init__(self, settings: Settings, database: Database, metrics: MetricsView) -> None:
        pending = PendingEntries(time.monotonic)
        self.log = WhoDidWhat(pending, ClientAddresses())
        self.services: list[ServiceT] = []
        if settings.runs & {"ingestion", "query"}:
            writer = AccessLogWriter(database, pending)
            metrics.add(writer.samples)
            self.services.append(writer)
