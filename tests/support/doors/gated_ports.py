"""The three kinds of port as a worker with AUTH=keys opens them, and keys for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

import aiohttp

from agents.projections.devices import devices
from app.services.health import health_service
from app.services.ingestion import ingestion_service
from app.services.query import query_service
from app.settings import read_settings
from headrace.access.key_request import checked
from tables.access import keys
from tables.database import Database
from web.server.server import HttpServer

from tests.support.doors.shared_parts import shared_parts
from tests.support.servers.fresh import free_port

Port = Literal["ingestion", "query", "health"]
ALONE = {"AUTH": "keys", "AUTH_FAILURES_PER_MINUTE": "0", "MQTT_URL": "off", "BROKER_URL": "kafka://127.0.0.1:9"}


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
    settings = read_settings(
        {
            "AUTH": "keys",
            "MQTT_URL": "off",
            "BROKER_URL": "kafka://127.0.0.1:9",
            "AUTH_FAILURES_PER_MINUTE": "0",
            **chosen,
            **more,
        }
    )
    shared = shared_parts(settings, [devices], database)
    ingestion, _ = ingestion_service(shared)
    servers: dict[Port, HttpServer] = {
        "ingestion": ingestion,
        "query": query_service(shared),
        "health": health_service(shared),
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
