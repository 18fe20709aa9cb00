"""Who did what, and how much callers may do: shared by the ports of a worker."""

from __future__ import annotations

import time

from faust.types import ServiceT

from agents.upkeep.access_log_writer import AccessLogWriter
from app.services.client_limits import rates
from app.settings import Settings
from headrace.access.addresses import networks
from headrace.access.pending_entries import PendingEntries
from headrace.process.metrics import RATE_LIMITED, Sample
from tables.database import Database
from web.access.addresses import ClientAddresses
from web.access.limits import Limits
from web.access.who_did_what import WhoDidWhat
from web.server.metrics import MetricsView


class Access:
    """What both ports use."""

    def __init__(self, settings: Settings, database: Database, metrics: MetricsView) -> None:
        pending = PendingEntries(time.monotonic)
        self.addresses = ClientAddresses(networks(settings.trusted_proxies))
        self.log = WhoDidWhat(pending, self.addresses)
        self.limits = Limits(rates(settings))
        metrics.add(lambda: [Sample(RATE_LIMITED, self.limits.refused)])
        self.services: list[ServiceT] = []
        if settings.runs & {"ingestion", "query"}:
            writer = AccessLogWriter(database, pending)
            metrics.add(writer.samples)
            self.services.append(writer)
