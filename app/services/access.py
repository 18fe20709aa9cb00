"""Who may send requests to a worker: one gate for all its ports."""

from __future__ import annotations

from typing import NamedTuple

from faust.types import ServiceT

from agents.upkeep.key_watch import KeyWatch
from app.settings import Settings
from app.worker import metric_sources
from headrace.access.refusals import Refusals
from tables.access.key_cache import KeyCache
from tables.database import Database
from web.access.credentials import Verifier
from web.access.gate import Gate
from web.access.keys import KeyVerifier
from web.openapi.both_ports import Admission
from web.server.metrics import MetricsView


class Access(NamedTuple):
    """How clients are authenticated."""

    gate: Gate | None
    """None: not at all."""
    services: list[ServiceT]
    """What keeps the gate true."""


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
    return Access(Gate(verifiers, refusals, open_docs=settings.auth_open_docs == "on"), services)


def admission(settings: Settings) -> Admission:
    """What the documents of the ports say about it."""
    return Admission(
        is_needed=settings.authenticates,
        with_keys=settings.accepts_keys,
        open_docs=settings.auth_open_docs == "on",
    )
