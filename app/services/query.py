"""The query service: the read API, parked events, audit log, health and metrics."""

from __future__ import annotations

from agents.parked.retrier import Retrier
from app.services.access import documented_access
from app.services.client_limits import connection_limits, guard, tls_files
from app.services.health import used_by
from app.services.lost_events import lost_events_of
from app.services.shared import Shared
from tables.projections.stalls import Stall, stalls
from web.openapi.both_ports import documentation_of_query
from web.query.access_log import AccessLogViews
from web.query.audit_log import AuditLog
from web.query.dead_letters import dead_letter_routes
from web.query.keys import key_routes
from web.query.parked import parked_routes
from web.query.projections import Projections
from web.server.health import Health
from web.server.request_times import RequestTimes
from web.server.server import HttpServer, make_application

# A retry request is answered within this time; it reports what is still parked.
RETRY_SECONDS = 20.0


def query_service(shared: Shared) -> HttpServer:
    """Create the HTTP server of the query port."""
    settings, projections, metrics = shared.settings, shared.projections, shared.metrics
    names, database, access = shared.names, shared.databases.of("query"), shared.access

    async def stalls_now() -> list[Stall]:
        async with database.acquire("rows") as connection:
            return await stalls(connection, names, longer_than_seconds=settings.stall_seconds)

    needs = {"postgresql": database.answers}
    health = Health(needs, used_by(shared), stalls_now, lost_events=lost_events_of(database), parts=shared.parts)
    views = Projections(database, projections, stalled_after_seconds=settings.stall_seconds)
    retrier = Retrier(
        projections,
        shared.databases.of("operation"),
        max_seconds=RETRY_SECONDS,
        max_state_bytes=settings.max_state_bytes,
    )
    owned_by_key = [one.name for one in projections if one.subject == "key"]
    times = RequestTimes("query")
    metrics.add(times.samples)
    routes = [
        *views.routes(),
        *AuditLog(database, log=access.log).routes(),
        *AccessLogViews(database, access.log).routes(),
        *parked_routes(database, names, retrier, access.log, owned_by_key=owned_by_key),
        *dead_letter_routes(database),
        *(key_routes(shared.databases.of("operation"), access.log) if settings.accepts_keys else []),
        *health.routes(),
        *metrics.routes(),
        *documentation_of_query(projections, documented_access(settings)).routes(),
    ]
    application = make_application(routes, settings.max_body_bytes, times, gate=access.gate, noted=access.log.refused)
    application.on_shutdown.append(views.close)
    return HttpServer(
        application,
        settings.query_host,
        settings.query_port,
        health,
        service="QUERY",
        hot_paths=[views.hot_path()],
        limits=connection_limits(settings),
        guard=guard(settings, settings.query_host),
        tls=tls_files(settings, "query"),
    )
