"""The ingestion service: the HTTP server, the bridge for devices, and the relay."""

from __future__ import annotations

from faust.types import ServiceT

from agents.relay.outbox_listener import OutboxListener, OutboxNotifier
from agents.relay.publisher import Publisher
from agents.relay.relay import Relay
from agents.upkeep.backlog_watch import BacklogWatch
from app.services.access import documented_access
from app.services.client_limits import connection_limits, guard, tls_files
from app.services.health import used_by
from app.services.lost_events import lost_events_of
from app.services.mqtt_bridge import mqtt_bridge
from app.services.shared import Shared
from app.settings import Settings
from app.worker import metric_sources
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from headrace.process.waiting import WakeUp
from tables.intake.backlog import Backlog
from tables.intake.group_commit import GroupCommit
from tables.projections.applied_events import AppliedEvents
from web.ingestion.door import Door
from web.ingestion.event_status import EventStories
from web.ingestion.event_types import EventTypeViews
from web.openapi.both_ports import documentation_of_ingestion
from web.requests.bodies import BodyBudget
from web.server.health import Health
from web.server.request_times import RequestTimes
from web.server.server import HttpServer, make_application


def ingestion_service(shared: Shared) -> tuple[HttpServer, list[ServiceT]]:
    """Create the HTTP server of the ingestion port, and the services that run with it, in start order."""
    settings, parts = shared.settings, shared.parts
    wake_up, database = WakeUp(), shared.databases.of("ingestion")
    relay = _relay(shared, wake_up)
    parts.add("relay", relay.condition)
    notifier = OutboxNotifier(database)

    def committed() -> None:
        if relay.is_active:
            wake_up.set()
        else:
            notifier.wake()

    group_commit = GroupCommit(
        database,
        max_queued_events=settings.max_queued_events,
        max_queued_bytes=settings.max_queued_bytes,
        committed=committed,
        disk_space=shared.disk_space,
    )
    backlog = Backlog(max_events=settings.outbox_max_events, max_bytes=settings.outbox_max_bytes)
    known = EventTypes(
        shared.projections,
        refuse_unknown=settings.unknown_types == "reject",
        accept_old_shapes=settings.old_shapes == "accept",
    )
    limits = _limits(settings)
    bridges = mqtt_bridge(settings, database, group_commit, known, limits, backlog=backlog)
    for bridge in bridges:
        parts.add("mqtt", bridge.condition)
    shared.metrics.add(
        metric_sources.outbox(backlog),
        metric_sources.relay(relay),
        *(metric_sources.mqtt(bridge) for bridge in bridges),
    )
    server = _server(shared, group_commit, known=known, limits=limits, backlog=backlog)
    return server, [
        relay,
        OutboxListener(shared.databases.of("relay"), wake_up),
        notifier,
        BacklogWatch(database, backlog),
        *bridges,
    ]


def _relay(shared: Shared, wake_up: WakeUp) -> Relay:
    settings = shared.settings
    publisher = Publisher(
        shared.kafka,
        settings.topic,
        partitions_if_new=settings.topic_partitions,
        max_event_bytes=settings.max_event_bytes,
    )
    return Relay(
        shared.databases.of("relay"),
        publisher,
        wake_up,
        batch_events=settings.relay_batch_events,
        watchdog_seconds=settings.relay_watchdog_seconds,
        disk_space=shared.disk_space,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        event_bytes=settings.max_event_bytes,
        batch_events=settings.max_batch_events,
        json_depth=settings.max_json_depth,
    )


def _server(
    shared: Shared, group_commit: GroupCommit, *, known: EventTypes, limits: Limits, backlog: Backlog
) -> HttpServer:
    settings, metrics, database = shared.settings, shared.metrics, shared.databases.of("ingestion")
    applied = AppliedEvents(database, shared.names)
    bodies = BodyBudget(settings.max_bodies_bytes)
    door = Door(
        group_commit, known, limits, backlog=backlog, body_budget=bodies, applied=applied, rates=shared.access.limits
    )
    needs = {"postgresql": database.answers}
    health = Health(needs, used_by(shared), lost_events=lost_events_of(database), parts=shared.parts)
    times = RequestTimes("ingestion")
    metrics.add(times.samples, metric_sources.intake("http", door.counts), metric_sources.memory(group_commit, bodies))
    documentation = documentation_of_ingestion(
        shared.projections,
        limits,
        refuse_unknown=settings.unknown_types == "reject",
        accept_old_shapes=settings.old_shapes == "accept",
        admission=documented_access(settings),
    )
    routes = [
        *door.routes(),
        *EventStories(database, shared.names).routes(),
        *EventTypeViews(known.known).routes(),
        *health.routes(),
        *metrics.routes(),
        *documentation.routes(),
    ]
    application = make_application(
        routes, settings.max_body_bytes, times, gate=shared.access.gate, noted=shared.access.log.refused
    )
    application.on_shutdown.append(applied.on_shutdown)
    return HttpServer(
        application,
        settings.ingestion_host,
        settings.ingestion_port,
        health,
        service="INGESTION",
        hot_paths=[door.hot_path()],
        limits=connection_limits(settings),
        guard=guard(settings, settings.ingestion_host),
        tls=tls_files(settings, "ingestion"),
    )
