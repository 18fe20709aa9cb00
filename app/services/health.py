"""What a worker reports of itself, and the port of a worker that serves nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from agents.kafka import probe
from app.services.client_limits import connection_limits, guard, tls_files
from app.services.lost_events import lost_events_of
from app.services.shared import Shared
from app.settings import Settings
from web.server.health import Check, Health
from web.server.server import HttpServer, make_application


def used_by(shared: Shared) -> Mapping[str, Check]:
    """What is asked only for a verbose report: Kafka, unless the worker only answers queries."""
    if shared.settings.runs == {"query"}:
        return {}
    return {"kafka": partial(probe.answers, shared.kafka)}


def health_service(shared: Shared) -> HttpServer:
    """Create the HTTP server of a worker that runs the event handler alone: health and metrics."""
    settings, database, access = shared.settings, shared.databases.main, shared.access
    health = Health(
        {"postgresql": database.answers, **used_by(shared)},
        lost_events=lost_events_of(database),
        parts=shared.parts,
        needs_all_parts=True,
    )
    routes = [*health.routes(), *shared.metrics.routes()]
    return HttpServer(
        make_application(routes, settings.max_body_bytes, gate=access.gate, noted=access.log.refused),
        settings.health_host,
        settings.health_port,
        health,
        service="HEALTH",
        limits=connection_limits(settings),
        guard=guard(settings, settings.health_host),
        tls=tls_files(settings, "health"),
        # Several event handlers on one machine work without a setting; a port that was chosen must be free.
        is_optional=settings.health_port == Settings().health_port,
    )
