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

from agents.kafka.closed_connections import patch_closed_connections
from agents.kafka.rights import lacking_rights
from agents.kafka.unreadable_batches import patch_unreadable_batches
from agents.projections.devices import devices
from agents.projections.event_types import event_types
from agents.projections.readings_hourly import readings_hourly
from agents.upkeep.database_opener import DatabaseOpener
from agents.upkeep.disk_watch import DiskWatch
from agents.upkeep.field_indexes import FieldIndexes
from agents.upkeep.leftovers import Leftovers
from app.commands.command_line import adapt_command_line
from app.commands.forget import add_forget
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
from app.settings import Settings, data_folder, read_settings
from app.worker import metric_sources
from app.worker.banner import Banner
from app.worker.faust_app import Headrace, refuse
from app.worker.log_formats import print_uncaught, print_uncaught_of_thread
from app.worker.loop_watchdog import LoopWatchdog
from app.worker.preflight import Check, Preflight, postgres_problems
from app.worker.start_lines import log_starting
from app.worker.startup import Startup
from headrace.declared import check_together
from headrace.errors import HeadraceError
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
    embedded_kafka = not settings.broker_url
    if embedded_kafka:
        settings = replace(settings, broker_url=f"kafka://127.0.0.1:{settings.embedded_kafka_port}")
    handles_events = "event_handler" in settings.runs
    startup = Startup()
    app = Headrace(settings, handles_events=handles_events, startup=startup)
    arm(settings.faults)
    database = Database(pool_size=settings.database_pool_size, timeout_seconds=settings.database_timeout_seconds)
    database_opener = DatabaseOpener(database, settings.database_url)
    disk_space = DiskSpace()
    metrics = _metrics(settings, database, disk_space)
    parts = Parts()
    parts.add("postgresql", database_opener.condition)
    parts.add("disk", partial(_disk, disk_space))
    access = Access(settings, database, metrics)
    http_servers: list[HttpServer] = []
    ingestion: list[ServiceT] = []
    if "ingestion" in settings.runs:
        server, ingestion = ingestion_service(
            settings, PROJECTIONS, database, disk_space=disk_space, metrics=metrics, parts=parts, access=access
        )
        http_servers.append(server)
    if "query" in settings.runs:
        http_servers.append(query_service(settings, PROJECTIONS, database, metrics=metrics, parts=parts, access=access))
    event_handler = (
        event_handler_service(app, settings, PROJECTIONS, database, disk_space=disk_space, metrics=metrics, parts=parts)
        if handles_events
        else []
    )
    if not http_servers:
        http_servers.append(health_service(settings, database, metrics, parts))
    app.http_servers = http_servers
    embedded = _embedded(settings, database_opener, startup, with_kafka=embedded_kafka)
    app.services = [
        LoopWatchdog(settings.stall_seconds, settings.log_format),
        _preflight(settings, http_servers, embedded, with_embedded_kafka=embedded_kafka),
        *http_servers,
        *embedded,
        database_opener,
        *_disk_watch(settings, database, disk_space),
        *_of_projections(settings, database, metrics),
        *ingestion,
        *access.services,
        Banner(settings, parts, is_up=app.note_up),
        *event_handler,
    ]
    _add_commands(app, settings, embedded_kafka=embedded_kafka)
    return app


def _add_commands(app: Headrace, settings: Settings, *, embedded_kafka: bool) -> None:
    add_migrate(app, settings)
    add_forget(settings, PROJECTIONS)
    add_parked(settings, PROJECTIONS)
    add_verify(settings, PROJECTIONS, embedded=embedded_kafka)
    add_unpublished(settings, embedded=embedded_kafka)
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
    http_servers: Sequence[HttpServer],
    embedded: Sequence[Embedded],
    *,
    with_embedded_kafka: bool,
) -> Preflight:
    checks: list[Check] = [*(server.problems for server in http_servers), *(servers.problems for servers in embedded)]
    if settings.database_url:
        checks.append(partial(postgres_problems, settings.database_url, settings.runs))
    if not with_embedded_kafka and settings.runs != {"query"}:
        group = settings.consumer_group if "event_handler" in settings.runs else None
        partitions = settings.topic_partitions
        rights = partial(lacking_rights, settings.bootstrap_servers, settings.topic, partitions=partitions, group=group)
        checks.append(rights)
    return Preflight(checks, passed=partial(log_starting, settings))


def _disk(disk_space: DiskSpace) -> Condition:
    return Condition("failing", "the disk of PostgreSQL is full") if disk_space.is_full else OK


def _disk_watch(settings: Settings, database: Database, disk_space: DiskSpace) -> list[ServiceT]:
    if settings.runs == {"query"}:
        return []
    return [DiskWatch(database, disk_space, None if settings.database_url else data_folder(settings))]


def _embedded(
    settings: Settings, database_opener: DatabaseOpener, startup: Startup, *, with_kafka: bool
) -> list[Embedded]:
    with_mqtt = "ingestion" in settings.runs and not settings.mqtt_url
    if settings.database_url and not with_kafka and not with_mqtt:
        return []
    servers = EmbeddedServers(
        data_folder(settings),
        kafka_port=settings.embedded_kafka_port,
        mqtt_port=settings.embedded_mqtt_port,
        mqtt_packet_bytes=packet_bytes_for(settings.max_event_bytes),
    )
    chosen: dict[ServerName, bool] = {
        "PostgreSQL": not settings.database_url,
        "Apache Kafka": with_kafka,
        "MQTT broker": with_mqtt,
    }
    for server, is_embedded in chosen.items():
        if is_embedded:
            startup.begins(server)
    return [
        Embedded(
            servers,
            postgres_is_at=None if settings.database_url else database_opener.set_dsn,
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
sys.excepthook, threading.excepthook = print_uncaught, print_uncaught_of_thread
try:
    app = make_app(read_environment())
except HeadraceError as error:
    refuse(error)
