"""Who may send requests to a worker: one gate for all its ports."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web
from faust.types import ServiceT

from agents.upkeep.key_watch import KeyWatch
from app.services.token_verifier import token_verifier
from app.settings import Settings
from app.worker import metric_sources
from headrace.access.refusals import Refusals
from tables.access.key_cache import KeyCache
from tables.database import Database
from web.access.credentials import Verifier
from web.access.gate import Gate
from web.access.keys import KeyVerifier
from web.access.tokens import TokenVerifier
from web.openapi.both_ports import Admission
from web.server.metrics import MetricsView


class Access(NamedTuple):
    """How clients are authenticated."""

    gate: Gate | None
    """None: not at all."""
    services: list[ServiceT]
    """What keeps the gate true."""
    tokens: TokenVerifier | None = None

    def attach(self, application: web.Application) -> None:
        """Let the application of a port start and end what the gate uses."""
        if self.tokens is not None:
            application.on_startup.append(self.tokens.on_startup)
            application.on_cleanup.append(self.tokens.on_cleanup)


def access_of(settings: Settings, database: Database, metrics: MetricsView) -> Access:
    """The gate of the worker's ports, with the verifiers that AUTH names."""
    if not settings.authenticates:
        return Access(None, [])
    refusals = Refusals()
    metrics.add(metric_sources.refusals(refusals))
    verifiers: list[Verifier] = []
    services: list[ServiceT] = []
    if settings.accepts_keys:
        cache = KeyCache(database)
        verifiers.append(KeyVerifier(cache, refusals))
        services.append(KeyWatch(database, cache))
    tokens = token_verifier(settings)
    if tokens is not None:
        verifiers.append(tokens)
    gate = Gate(verifiers, refusals, open_docs=settings.auth_open_docs == "on")
    return Access(gate, services, tokens)


def admission(settings: Settings) -> Admission:
    """What the documents of the ports say about it."""
    return Admission(
        is_needed=settings.authenticates,
        with_keys=settings.accepts_keys,
        open_docs=settings.auth_open_docs == "on",
    )
