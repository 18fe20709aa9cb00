"""Who may send requests to a worker, how much, and who did what: shared by all its ports."""

from __future__ import annotations

import time
from functools import partial

from aiohttp import web
from faust.types import ServiceT

from agents.upkeep.access_log_writer import AccessLogWriter
from agents.upkeep.key_watch import KeyWatch
from app.services.client_limits import rates
from app.services.token_verifier import token_verifier
from app.settings import Settings
from app.worker import metric_sources
from headrace.access.addresses import networks
from headrace.access.pending_entries import PendingEntries
from headrace.access.refusals import Refusals
from headrace.process.metrics import RATE_LIMITED, Sample
from tables.access import keys
from tables.access.key_cache import KeyCache
from tables.database import Database
from web.access.addresses import ClientAddresses
from web.access.certificates import CertificateVerifier
from web.access.credentials import Verifier
from web.access.gate import Gate
from web.access.keys import KeyVerifier
from web.access.limits import RateLimits
from web.access.tokens import TokenVerifier
from web.access.who_did_what import WhoDidWhat
from web.openapi.both_ports import DocumentedAccess
from web.server.metrics import MetricsView


class Access:
    """How clients are authenticated, limited and remembered."""

    def __init__(self, settings: Settings, database: Database, metrics: MetricsView) -> None:
        pending = PendingEntries(time.monotonic)
        self.addresses = ClientAddresses(networks(settings.trusted_proxies))
        self.log = WhoDidWhat(pending, self.addresses)
        self.limits = RateLimits(rates(settings))
        metrics.add(lambda: [Sample(RATE_LIMITED, self.limits.refused)])
        self.services: list[ServiceT] = []
        """What keeps the gate true, and writes the log."""
        self.tokens: TokenVerifier | None = None
        self.gate = self._gate(settings, database, metrics) if settings.authenticates else None
        """None: everybody may send requests."""
        if settings.runs & {"ingestion", "query"} or self.gate is not None:
            writer = AccessLogWriter(database, pending)
            metrics.add(writer.samples)
            self.services.append(writer)

    def attach(self, application: web.Application) -> None:
        """Let the application of a port start and end what the gate uses."""
        if self.tokens is not None:
            application.on_startup.append(self.tokens.on_startup)
            application.on_cleanup.append(self.tokens.on_cleanup)

    def _gate(self, settings: Settings, database: Database, metrics: MetricsView) -> Gate:
        refusals = Refusals()
        metrics.add(metric_sources.refusals(refusals))
        verifiers: list[Verifier] = []
        certificates = None
        if settings.accepts_keys:
            cache = KeyCache(database)
            certificates = CertificateVerifier(cache, partial(_key_of_certificate, database))
            verifiers.append(KeyVerifier(cache, refusals))
            self.services.append(KeyWatch(database, cache))
        self.tokens = token_verifier(settings)
        if self.tokens is not None:
            verifiers.append(self.tokens)
        return Gate(
            verifiers,
            refusals,
            limits=self.limits,
            addresses=self.addresses,
            certificates=certificates,
            open_docs=settings.auth_open_docs == "on",
        )


async def _key_of_certificate(database: Database, name: str) -> str | None:
    async with database.acquire("rows") as connection:
        return await keys.id_of_certificate(connection, [name])


def documented_access(settings: Settings) -> DocumentedAccess:
    """What the documents of the ports say about it."""
    return DocumentedAccess(
        is_needed=settings.authenticates,
        with_keys=settings.accepts_keys,
        open_docs=settings.auth_open_docs == "on",
    )
