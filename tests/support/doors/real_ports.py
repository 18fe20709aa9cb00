"""Both ports with all their routes, as the services make them, for callers with a grant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp.test_utils import TestClient

from app.services.ingestion import ingestion_service
from app.services.query import query_service
from app.settings import read_settings
from headrace.access.grant import Grant
from headrace.projection import Projection
from tables.database import Database
from web.server.server import HttpServer

from tests.support.clients.query_client import Client
from tests.support.doors.callers import SAME_REQUEST, calling_with
from tests.support.doors.hot_server import HotServer
from tests.support.doors.shared_parts import shared_parts

NO_KAFKA = "kafka://127.0.0.1:9"


def ingestion_port(database: Database, projections: Sequence[Projection[Any]], grant: Grant) -> Client:
    """The ingestion port; no relay empties the outbox."""
    settings = read_settings({"MQTT_URL": "off", "BROKER_URL": NO_KAFKA})
    server, _ = ingestion_service(shared_parts(settings, projections, database))
    return _client(server, grant)


def query_port(database: Database, projections: Sequence[Projection[Any]], grant: Grant) -> Client:
    """The query port."""
    settings = read_settings({"SERVICES": "query"})
    return _client(query_service(shared_parts(settings, projections, database)), grant)


def _client(server: HttpServer, grant: Grant) -> Client:
    server.application.middlewares.append(calling_with(grant))
    return TestClient(HotServer(server.application, server._hot_paths), headers=SAME_REQUEST)
