"""The composition root: what runs in a worker, in start order. Imported by nobody but `app`."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import uvloop
from dotenv import dotenv_values
from faust.types import ServiceT
from msgspec.structs import replace

from agents.backlog_watch import BacklogWatch
from agents.batches import AsIs
from agents.broker_gate import BrokerGate
from agents.catch_up import CatchUp
from agents.devices import devices
from agents.disk_watch import DiskWatch
from agents.event_types import event_types
from agents.field_indexes import FieldIndexes
from agents.idle_partitions import IdlePartitions
from agents.mqtt_bridge import MqttBridge
from agents.outbox_listener import OutboxListener, OutboxNotifier
from agents.past import Past
from agents.projector import Projector, agent_of
from agents.publisher import Publisher
from agents.readings_hourly import readings_hourly
from agents.relay import Relay
from agents.retrying import Retrier
from agents.stall_detector import StallDetector
from agents.storage import Storage
from app import worker_metrics
from app.banner import Banner
from app.commands.migrate import add_migrate
from app.commands.parked import add_parked
from app.commands.verify import add_verify
from app.embedded.mqtt import mosquitto
from app.embedded.servers import EmbeddedServers
from app.embedded.service import Embedded
from app.envelope import Limits
from app.errors import HeadraceError
from app.event_types import EventTypes
from app.fault_points import arm
from app.loop_watchdog import LoopWatchdog
from app.metrics import Metrics
from app.projection import Projection
from app.settings import Settings, data_folder, mqtt_address, read_settings
from app.waiting import WakeUp
from app.worker import Headrace, refuse
from tables.applied_events import AppliedEvents
from tables.backlog import Backlog
from tables.database import Database
from tables.disk_space import DiskSpace
from tables.group_commit import GroupCommit
from tables.stalls import Stall, stalls
from web.api_documents import documentation_of_ingestion, documentation_of_query
from web.audit_log import AuditLog
from web.bodies import BodyBudget
from web.dead_letters import dead_letter_routes
from web.event_status import EventStories
from web.event_types import EventTypeViews
from web.health import Health
from web.ingestion import Door
from web.metrics import DatabaseSamples, MetricsView
from web.parked import parked_routes
from web.query import Projections
from web.request_times import RequestTimes
from web.server import HttpServer, make_application

PROJECTIONS: tuple[Projection[Any], ...] = (
    devices,
    readings_hourly,
    event_types,
)

# A request for a retry is answered by then; what is left is told.
RETRY_SECONDS = 20.0


def make_app(settings: Settings) -> Headrace:
    """The Faust app of one worker, with the services that the settings choose."""
    embedded_kafka = not settings.broker_url
    if embedded_kafka:
        settings = replace(settings, broker_url=f"kafka://127.0.0.1:{settings.embedded_kafka_port}")
    handles_events = "event_handler" in settings.runs
    app = Headrace(settings, handles_events=handles_events)
    arm(settings.faults)
    database = Database(pool_size=settings.database_pool_size, timeout_seconds=settings.database_timeout_seconds)
    storage = Storage(database, settings.database_url)
    disk_space = DiskSpace()
    names = [projection.name for projection in PROJECTIONS] if "query" in settings.runs else []
    told = MetricsView(Metrics(), DatabaseSamples(database, names, stalled_after_seconds=settings.stall_seconds))
    told.add(worker_metrics.disk(disk_space))
    applied = AppliedEvents(database, [projection.name for projection in PROJECTIONS])
    ingestion, relaying = (
        _ingestion(settings, database, disk_space, told, applied) if "ingestion" in settings.runs else ([], [])
    )
    query = _query(settings, database, told) if "query" in settings.runs else []
    app.http_servers = [*ingestion, *query]
    app.services = [
        LoopWatchdog(settings.stall_seconds),
        *app.http_servers,
        *_embedded(settings, storage, with_kafka=embedded_kafka),
        storage,
        Banner(settings),
        *(
            [DiskWatch(database, disk_space, None if settings.database_url else data_folder(settings))]
            if settings.runs != {"query"}
            else []
        ),
        *([FieldIndexes(database, PROJECTIONS)] if settings.runs & {"event_handler", "query"} else []),
        *relaying,
        *(_event_handler(app, settings, database, disk_space, told) if handles_events else []),
    ]
    add_migrate(app, settings)
    add_parked(settings, PROJECTIONS)
    add_verify(settings, PROJECTIONS, embedded_kafka=embedded_kafka)
    return app


def _ingestion(
    settings: Settings, database: Database, disk_space: DiskSpace, told: MetricsView, applied: AppliedEvents
) -> tuple[list[HttpServer], list[ServiceT]]:
    wake_up = WakeUp()
    publisher = Publisher(settings.bootstrap_servers, settings.topic, partitions_if_new=settings.topic_partitions)
    relay = Relay(
        database,
        publisher,
        wake_up,
        batch_events=settings.relay_batch_events,
        watchdog_seconds=settings.relay_watchdog_seconds,
        disk_space=disk_space,
    )
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
    known = EventTypes(PROJECTIONS, refuse_unknown=settings.unknown_types == "reject")
    limits = Limits(
        event_bytes=settings.max_event_bytes,
        batch_events=settings.max_batch_events,
        json_depth=settings.max_json_depth,
    )
    health = Health(needs={"postgresql": database.answers})
    stories = EventStories(database, [projection.name for projection in PROJECTIONS])
    bodies = BodyBudget(settings.max_bodies_bytes)
    door = Door(group_commit, known, limits, backlog=backlog, body_budget=bodies, applied=applied)
    times = RequestTimes("ingestion")
    bridge = _mqtt_bridge(settings, database, group_commit, known, limits, backlog=backlog)
    told.add(*(worker_metrics.mqtt(one) for one in bridge))
    told.add(
        times.samples,
        worker_metrics.intake("http", door.counts),
        worker_metrics.door(group_commit, bodies),
        worker_metrics.outbox(backlog),
        worker_metrics.relay(relay),
    )
    routes = [
        *door.routes(),
        *stories.routes(),
        *EventTypeViews(known.known).routes(),
        *health.routes(),
        *told.routes(),
        *documentation_of_ingestion(PROJECTIONS, limits, refuse_unknown=settings.unknown_types == "reject").routes(),
    ]
    application = make_application(routes, settings.max_body_bytes, times)
    application.on_shutdown.append(applied.let_go)
    server = HttpServer(
        application,
        settings.ingestion_host,
        settings.ingestion_port,
        health,
        setting="INGESTION_PORT",
        hot_paths=[door.hot_path()],
        max_connections=settings.max_connections,
    )
    return [server], [relay, OutboxListener(database, wake_up), notifier, BacklogWatch(database, backlog), *bridge]


def _mqtt_bridge(
    settings: Settings,
    database: Database,
    group_commit: GroupCommit,
    event_types: EventTypes,
    limits: Limits,
    *,
    backlog: Backlog,
) -> list[MqttBridge]:
    if settings.mqtt_url == "off":
        return []
    address = mqtt_address(settings, host_name=socket.gethostname())
    if not settings.mqtt_url and mosquitto() is None:
        address = replace(address, version_5=False)  # amqtt
    return [
        MqttBridge(
            address,
            database,
            group_commit,
            event_types,
            limits,
            max_in_flight=settings.mqtt_max_in_flight,
            backlog=backlog,
        )
    ]


def _query(settings: Settings, database: Database, told: MetricsView) -> list[HttpServer]:
    names = [projection.name for projection in PROJECTIONS]

    async def stalls_now() -> list[Stall]:
        async with database.acquire() as connection:
            return await stalls(connection, names, longer_than_seconds=settings.stall_seconds)

    health = Health(needs={"postgresql": database.answers}, stalls=stalls_now)
    pasts = {projection.name: Past(projection) for projection in PROJECTIONS}
    projections = Projections(database, PROJECTIONS, pasts, stalled_after_seconds=settings.stall_seconds)
    parked = parked_routes(database, names, Retrier(PROJECTIONS, database, most_seconds=RETRY_SECONDS))
    times = RequestTimes("query")
    told.add(times.samples)
    routes = [
        *projections.routes(),
        *AuditLog(database).routes(),
        *parked,
        *dead_letter_routes(database),
        *health.routes(),
        *told.routes(),
        *documentation_of_query(PROJECTIONS).routes(),
    ]
    application = make_application(routes, settings.max_body_bytes, times)
    application.on_shutdown.append(projections.close)
    server = HttpServer(
        application,
        settings.query_host,
        settings.query_port,
        health,
        setting="QUERY_PORT",
        hot_paths=[projections.hot_path()],
        max_connections=settings.max_connections,
    )
    return [server]


def _event_handler(
    app: Headrace, settings: Settings, database: Database, disk_space: DiskSpace, told: MetricsView
) -> list[ServiceT]:
    topic = app.topic(settings.topic, schema=AsIs())
    projectors = {projection.name: Projector(projection, database, disk_space) for projection in PROJECTIONS}
    for name, projector in projectors.items():
        app.agent(topic, name=f"project_{name}")(agent_of(projector))
    told.add(worker_metrics.projectors(projectors))
    gate = BrokerGate(settings.bootstrap_servers, settings.topic, partitions_if_new=settings.topic_partitions)
    stall_detector = StallDetector(
        database,
        {name: projector.restart for name, projector in projectors.items()},
        partitions=app.assigned_partitions,
        broker_answers=gate.look,
        disk_space=disk_space,
        stall_seconds=settings.stall_seconds,
    )
    return [
        CatchUp(list(projectors.values())),
        IdlePartitions(database),
        gate,
        stall_detector,
    ]


def _embedded(settings: Settings, storage: Storage, *, with_kafka: bool) -> list[ServiceT]:
    with_mqtt = "ingestion" in settings.runs and not settings.mqtt_url
    if settings.database_url and not with_kafka and not with_mqtt:
        return []
    servers = EmbeddedServers(
        data_folder(settings), kafka_port=settings.embedded_kafka_port, mqtt_port=settings.embedded_mqtt_port
    )
    return [
        Embedded(
            servers,
            postgres_is_at=None if settings.database_url else storage.use,
            with_kafka=with_kafka,
            with_mqtt=with_mqtt,
        )
    ]


def read_environment() -> Settings:
    """The settings of this process: the environment over `.env`."""
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return read_settings({**from_file, **os.environ})


# Before Faust asks for a loop.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
try:
    app = make_app(read_environment())
except HeadraceError as error:
    refuse(error)
