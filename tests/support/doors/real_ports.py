"""Both ports with all their routes, as the services make them, for callers with a grant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp.test_utils import TestClient

from app.services.ingestion import ingestion_service
from app.services.query import query_service
from app.settings import read_settings
from headrace.access.grant import Grant
from headrace.process.metrics import Metrics
from headrace.process.parts import Parts
from headrace.projection import Projection
from tables.database import Database
from tables.intake.disk_space import DiskSpace
from web.server.metrics import DatabaseSamples, MetricsView
from web.server.server import HttpServer

from tests.support.clients.query_client import Client
from tests.support.doors.callers import calling_with
from tests.support.doors.hot_server import HotServer


def ingestion_port(database: Database, projections: Sequence[Projection[Any]], grant: Grant) -> Client:
    """The ingestion port; no relay empties the outbox."""
    server, _ = ingestion_service(
        read_settings({"MQTT_URL": "off"}),
        projections,
        database,
        disk_space=DiskSpace(),
        metrics=_metrics(database, projections),
        parts=Parts(),
    )
    return _client(server, grant)


def query_port(database: Database, projections: Sequence[Projection[Any]], grant: Grant) -> Client:
    """The query port."""
    return _client(
        query_service(read_settings({}), projections, database, _metrics(database, projections), Parts()), grant
    )


def _metrics(database: Database, projections: Sequence[Projection[Any]]) -> MetricsView:
    names = [one.name for one in projections]
    return MetricsView(Metrics(), DatabaseSamples(database, names, stalled_after_seconds=60))


def _client(server: HttpServer, grant: Grant) -> Client:
    server.application.middlewares.append(calling_with(grant))
    return TestClient(HotServer(server.application, server._hot_paths))
