"""What a worker reports of itself, and the port of a worker that serves nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from agents.kafka import probe
from agents.kafka.access import KafkaAccess
from app.services.client_limits import connection_limits, guard, tls_files
from app.services.lost_events import lost_events_of
from app.settings import Settings
from headrace.process.parts import Parts
from tables.database import Database
from web.access.gate import Gate
from web.server.health import Check, Health
from web.server.metrics import MetricsView
from web.server.server import HttpServer, make_application


def used_by(settings: Settings, kafka: KafkaAccess) -> Mapping[str, Check]:
    """What is asked only for a verbose report: Kafka, unless the worker only answers queries."""
    if settings.runs == {"query"}:
        return {}
    return {"kafka": partial(probe.answers, kafka)}


def health_service(
    settings: Settings,
    database: Database,
    metrics: MetricsView,
    parts: Parts,
    *,
    kafka: KafkaAccess,
    gate: Gate | None = None,
) -> HttpServer:
    """Create the HTTP server of a worker that runs the event handler alone: health and metrics."""
    health = Health(
        {"postgresql": database.answers, **used_by(settings, kafka)},
        lost_events=lost_events_of(database),
        parts=parts,
        needs_all_parts=True,
    )
    return HttpServer(
        make_application([*health.routes(), *metrics.routes()], settings.max_body_bytes, gate=gate),
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
