"""The composition root: what runs in a worker, in start order. Only `app` imports it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import uvloop
from faust.types import ServiceT
from msgspec.structs import replace

from agents.kafka.access import KafkaAccess
from agents.kafka.closed_connections import patch_closed_connections
from agents.kafka.handshakes import patch_handshakes
from agents.kafka.refused_access import access_problems
from agents.kafka.rights import lacking_rights
from agents.kafka.unreadable_batches import patch_unreadable_batches
from agents.projections.devices import devices
from agents.projections.event_types import event_types
from agents.projections.readings_hourly import readings_hourly
from agents.upkeep.disk_watch import DiskWatch
from agents.upkeep.field_indexes import FieldIndexes
from agents.upkeep.leftovers import Leftovers
from app.commands.check_history import add_check_history
from app.commands.command_line import adapt_command_line
from app.commands.forget import add_forget
from app.commands.keys import add_keys
from app.commands.migrate import add_migrate
from app.commands.parked import add_parked
from app.commands.unpublished import add_unpublished
from app.commands.verify import add_verify
from app.embedded.mqtt.broker import packet_bytes_for
from app.embedded.servers import EmbeddedServers
from app.embedded.supervisor import Embedded, ServerName
from app.environment import environment
from app.secret_files import hide_secrets, with_secret_files
from app.services.access import Access
from app.services.event_handler import event_handler_service
from app.services.health import health_service
from app.services.ingestion import ingestion_service
from app.services.query import query_service
from app.services.shared import Shared
from app.settings import Settings, data_folder, read_settings
from app.worker import metric_sources
from app.worker.banner import Banner
from app.worker.broker_address import kafka_access
from app.worker.databases import Databases
from app.worker.faust_app import Headrace, refuse
from app.worker.log_formats import print_uncaught, print_uncaught_of_thread
from app.worker.loop_watchdog import LoopWatchdog
from app.worker.preflight import Check, Preflight, postgres_problems
from app.worker.start_lines import log_starting
from app.worker.startup import Startup
from headrace.declared import check_together
from headrace.errors import HeadraceError
from headrace.old_shapes import check_together as check_old_shapes_together
from headrace.process.fault_points import arm
from headrace.process.metrics import Metrics
from headrace.process.parts import OK, Condition, Parts
from headrace.projection import Projection
from tables.database import Database
from tables.intake.disk_space import DiskSpace
from web.server.metrics import DatabaseSamples, MetricsView
from web.server.server import HttpServer

PROJECTIONS: tuple[Projection[Any], ...] = (
    devices,
    readings_hourly,
    event_types,
)


def make_app(settings: Settings) -> Headrace:
    """Create the Faust app of a worker, with the services that the settings choose."""
    check_together(PROJECTIONS)
    check_old_shapes_together(PROJECTIONS)
    embedded_kafka = not settings.broker_url
    kafka = kafka_access(settings, embedded=embedded_kafka)
    if embedded_kafka:
        settings = replace(settings, broker_url=f"kafka://127.0.0.1:{settings.embedded_kafka_port}")
    handles_events = "event_handler" in settings.runs
    startup = Startup()
    app = Headrace(settings, handles_events=handles_events, kafka=kafka, startup=startup)
    arm(settings.faults)
    databases = Databases(settings)
    database = databases.main
    disk_space = DiskSpace()
    metrics = _metrics(settings, database, disk_space)
    access = Access(settings, database, metrics)
    parts = Parts()
    parts.add("postgresql", databases.condition)
    parts.add("disk", partial(_disk, disk_space))
    shared = Shared(settings, PROJECTIONS, databases, kafka, disk_space, metrics, parts, access)
    http_servers: list[HttpServer] = []
    ingestion: list[ServiceT] = []
    if "ingestion" in settings.runs:
        server, ingestion = ingestion_service(shared)
        http_servers.append(server)
    if "query" in settings.runs:
        http_servers.append(query_service(shared))
    event_handler = event_handler_service(app, shared) if handles_events else []
    if not http_servers:
        http_servers.append(health_service(shared))
    for server in http_servers:
        access.attach(server.application)
    app.http_servers = http_servers
    embedded = _embedded(settings, databases, startup, with_kafka=embedded_kafka)
    app.services = [
        LoopWatchdog(settings.stall_seconds, settings.log_format),
        _preflight(settings, databases, http_servers, embedded, None if embedded_kafka else kafka),
        *http_servers,
        *embedded,
        *databases.openers,
        *access.services,
        *_disk_watch(settings, databases, disk_space),
        *_of_projections(settings, database, metrics),
        *ingestion,
        Banner(settings, parts, is_up=app.note_up),
        *event_handler,
    ]
    _add_commands(app, settings, kafka, embedded_kafka=embedded_kafka)
    return app


def _add_commands(app: Headrace, settings: Settings, kafka: KafkaAccess, *, embedded_kafka: bool) -> None:
    add_migrate(app, settings, PROJECTIONS)
    add_forget(settings, PROJECTIONS)
    add_keys(settings)
    add_parked(settings, PROJECTIONS)
    add_check_history(settings, PROJECTIONS)
    add_verify(settings, PROJECTIONS, kafka, embedded=embedded_kafka)
    add_unpublished(settings, kafka, embedded=embedded_kafka)
    adapt_command_line()


def _metrics(settings: Settings, database: Database, disk_space: DiskSpace) -> MetricsView:
    names = [projection.name for projection in PROJECTIONS] if "query" in settings.runs else []
    metrics = MetricsView(Metrics(), DatabaseSamples(database, names, stalled_after_seconds=settings.stall_seconds))
    metrics.add(metric_sources.disk(disk_space), metric_sources.build)
    return metrics


def _of_projections(settings: Settings, database: Database, metrics: MetricsView) -> list[ServiceT]:
    if not settings.runs & {"event_handler", "query"}:
        return []
    leftovers = Leftovers(database, [projection.name for projection in PROJECTIONS])
    metrics.add(leftovers.samples)
    return [FieldIndexes(database, PROJECTIONS), leftovers]


def _preflight(
    settings: Settings,
    databases: Databases,
    http_servers: Sequence[HttpServer],
    embedded: Sequence[Embedded],
    kafka: KafkaAccess | None,
) -> Preflight:
    checks: list[Check] = [*(server.problems for server in http_servers), *(servers.problems for servers in embedded)]
    if not databases.is_embedded:
        checks += [partial(postgres_problems, *needed) for needed in databases.needed()]
    if kafka is not None and settings.runs != {"query"}:
        group = settings.consumer_group if "event_handler" in settings.runs else None
        partitions = settings.topic_partitions
        rights = partial(lacking_rights, kafka, settings.topic, partitions=partitions, group=group)
        checks += [partial(access_problems, kafka), rights]
    return Preflight(checks, passed=partial(log_starting, settings))


def _disk(disk_space: DiskSpace) -> Condition:
    return Condition("failing", "the disk of PostgreSQL is full") if disk_space.is_full else OK


def _disk_watch(settings: Settings, databases: Databases, disk_space: DiskSpace) -> list[ServiceT]:
    if settings.runs == {"query"}:
        return []
    return [DiskWatch(databases.main, disk_space, data_folder(settings) if databases.is_embedded else None)]


def _embedded(settings: Settings, databases: Databases, startup: Startup, *, with_kafka: bool) -> list[Embedded]:
    with_mqtt = "ingestion" in settings.runs and not settings.mqtt_url
    if not databases.is_embedded and not with_kafka and not with_mqtt:
        return []
    servers = EmbeddedServers(
        data_folder(settings),
        kafka_port=settings.embedded_kafka_port,
        mqtt_port=settings.embedded_mqtt_port,
        mqtt_packet_bytes=packet_bytes_for(settings.max_event_bytes),
    )
    chosen: dict[ServerName, bool] = {
        "PostgreSQL": databases.is_embedded,
        "Apache Kafka": with_kafka,
        "MQTT broker": with_mqtt,
    }
    for server, is_embedded in chosen.items():
        if is_embedded:
            startup.begins(server)
    return [
        Embedded(
            servers,
            postgres_is_at=databases.set_embedded if databases.is_embedded else None,
            with_kafka=with_kafka,
            with_mqtt=with_mqtt,
            is_ready=startup.is_ready,
        )
    ]


def read_environment() -> Settings:
    """Read the settings of this process: `.env`, overridden by the environment. Raises InvalidSettingError."""
    variables = with_secret_files(environment())
    hide_secrets(variables)
    return read_settings(variables)


# Must precede Faust's first use of an event loop.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
patch_closed_connections()
patch_unreadable_batches()
patch_handshakes()
sys.excepthook, threading.excepthook = print_uncaught, print_uncaught_of_thread
try:
    app = make_app(read_environment())
except HeadraceError as error:
    refuse(error)
