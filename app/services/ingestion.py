"""The ingestion service: the HTTP server, the bridge for devices, and the relay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faust.types import ServiceT

from agents.relay.outbox_listener import OutboxListener, OutboxNotifier
from agents.relay.publisher import Publisher
from agents.relay.relay import Relay
from agents.upkeep.backlog_watch import BacklogWatch
from app.services.access import Access
from app.services.client_limits import connection_limits, guard
from app.services.health import used_by
from app.services.lost_events import lost_events_of
from app.services.mqtt_bridge import mqtt_bridge
from app.settings import Settings
from app.worker import metric_sources
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from headrace.process.parts import Parts
from headrace.process.waiting import WakeUp
from headrace.projection import Projection
from tables.database import Database
from tables.intake.backlog import Backlog
from tables.intake.disk_space import DiskSpace
from tables.intake.group_commit import GroupCommit
from tables.projections.applied_events import AppliedEvents
from web.ingestion.door import Door
from web.ingestion.event_status import EventStories
from web.ingestion.event_types import EventTypeViews
from web.openapi.both_ports import documentation_of_ingestion
from web.requests.bodies import BodyBudget
from web.server.health import Health
from web.server.metrics import MetricsView
from web.server.request_times import RequestTimes
from web.server.server import HttpServer, make_application


def ingestion_service(
    settings: Settings,
    projections: Sequence[Projection[Any]],
    database: Database,
    *,
    disk_space: DiskSpace,
    metrics: MetricsView,
    parts: Parts,
    access: Access,
) -> tuple[HttpServer, list[ServiceT]]:
    """Create the HTTP server of the ingestion port, and the services that run with it, in start order."""
    wake_up = WakeUp()
    relay = _relay(settings, database, wake_up, disk_space)
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
        disk_space=disk_space,
    )
    backlog = Backlog(max_events=settings.outbox_max_events, max_bytes=settings.outbox_max_bytes)
    known = EventTypes(projections, refuse_unknown=settings.unknown_types == "reject")
    limits = _limits(settings)
    bridges = mqtt_bridge(settings, database, group_commit, known, limits, backlog=backlog)
    for bridge in bridges:
        parts.add("mqtt", bridge.condition)
    metrics.add(
        metric_sources.outbox(backlog),
        metric_sources.relay(relay),
        *(metric_sources.mqtt(bridge) for bridge in bridges),
    )
    server = _server(
        settings,
        projections,
        database,
        group_commit,
        known=known,
        limits=limits,
        backlog=backlog,
        metrics=metrics,
        parts=parts,
        access=access,
    )
    return server, [
        relay,
        OutboxListener(database, wake_up),
        notifier,
        BacklogWatch(database, backlog),
        *bridges,
    ]


def _relay(settings: Settings, database: Database, wake_up: WakeUp, disk_space: DiskSpace) -> Relay:
    publisher = Publisher(
        settings.bootstrap_servers,
        settings.topic,
        partitions_if_new=settings.topic_partitions,
        max_event_bytes=settings.max_event_bytes,
    )
    return Relay(
        database,
        publisher,
        wake_up,
        batch_events=settings.relay_batch_events,
        watchdog_seconds=settings.relay_watchdog_seconds,
        disk_space=disk_space,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        event_bytes=settings.max_event_bytes,
        batch_events=settings.max_batch_events,
        json_depth=settings.max_json_depth,
    )


def _server(
    settings: Settings,
    projections: Sequence[Projection[Any]],
    database: Database,
    group_commit: GroupCommit,
    *,
    known: EventTypes,
    limits: Limits,
    backlog: Backlog,
    metrics: MetricsView,
    parts: Parts,
    access: Access,
) -> HttpServer:
    names = [projection.name for projection in projections]
    applied = AppliedEvents(database, names)
    bodies = BodyBudget(settings.max_bodies_bytes)
    door = Door(group_commit, known, limits, backlog=backlog, body_budget=bodies, applied=applied, rates=access.limits)
    needs = {"postgresql": database.answers}
    health = Health(needs, used_by(settings), lost_events=lost_events_of(database), parts=parts)
    times = RequestTimes("ingestion")
    metrics.add(times.samples, metric_sources.intake("http", door.counts), metric_sources.memory(group_commit, bodies))
    routes = [
        *door.routes(),
        *EventStories(database, names).routes(),
        *EventTypeViews(known.known).routes(),
        *health.routes(),
        *metrics.routes(),
        *documentation_of_ingestion(projections, limits, refuse_unknown=settings.unknown_types == "reject").routes(),
    ]
    application = make_application(routes, settings.max_body_bytes, times, access.log.refused)
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
    )
