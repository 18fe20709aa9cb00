"""The three kinds of port as a worker with AUTH=keys opens them, and keys for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

import aiohttp

from agents.projections.devices import devices
from app.services.access import access_of
from app.services.health import health_service
from app.services.ingestion import ingestion_service
from app.services.query import query_service
from app.settings import read_settings
from headrace.access.key_request import checked
from headrace.process.metrics import Metrics
from headrace.process.parts import Parts
from tables.access import keys
from tables.database import Database
from tables.intake.disk_space import DiskSpace
from web.server.metrics import DatabaseSamples, MetricsView
from web.server.server import HttpServer

from tests.support.servers.fresh import free_port

Port = Literal["ingestion", "query", "health"]


class GatedPorts(NamedTuple):
    """The servers, and a client for all of them."""

    servers: dict[Port, HttpServer]
    addresses: dict[Port, str]
    client: aiohttp.ClientSession
    database: Database

    async def key(self, name: str, scopes: Sequence[str]) -> str:
        """A new key."""
        async with self.database.acquire() as connection:
            _, secret = await keys.create(connection, checked(name, scopes), "host:test")
        return secret

    async def status(self, port: Port, method: str, path: str, *headers: tuple[str, str], data: bytes = b"") -> int:
        """Of the answer to a request."""
        async with self.client.request(method, self.addresses[port] + path, headers=list(headers), data=data) as answer:
            return answer.status


@asynccontextmanager
async def gated_ports(database: Database, **more: str) -> AsyncIterator[GatedPorts]:
    """Open them; nothing else of a worker runs."""
    ports: dict[Port, int] = {"ingestion": free_port(), "query": free_port(), "health": free_port()}
    chosen = {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
    settings = read_settings({"AUTH": "keys", "MQTT_URL": "off", "BROKER_URL": "kafka://127.0.0.1:9", **chosen, **more})
    metrics = MetricsView(Metrics(), DatabaseSamples(database, [], stalled_after_seconds=60.0))
    access = access_of(settings, database, metrics)
    ingestion, _ = ingestion_service(
        settings,
        [devices],
        database,
        disk_space=DiskSpace(),
        metrics=metrics,
        parts=Parts(),
        gate=access.gate,
    )
    servers: dict[Port, HttpServer] = {
        "ingestion": ingestion,
        "query": query_service(settings, [devices], database, metrics, Parts(), gate=access.gate),
        "health": health_service(settings, database, metrics, Parts(), gate=access.gate),
    }
    addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    for server in servers.values():
        await server.on_start()
    try:
        async with aiohttp.ClientSession() as client:
            yield GatedPorts(servers, addresses, client, database)
    finally:
        for server in servers.values():
            await server.on_stop()
