"""A PostgreSQL whose log can be decoded (wal_level=logical), for the comparisons with Debezium: both sides use it.

It is the embedded one in a folder of its own, and listens on loopback too, for Java has no Unix sockets.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from app.embedded.ports import LOOPBACK, free_port
from app.embedded.postgres import server as postgres
from app.embedded.servers import EmbeddedServers

from benchmarks.place import CONNECT_SECONDS, NO_PORT, Place, Server, connect, first_process

ROLE = "replicator"
HBA = (
    "local all all trust",
    f"host all {ROLE} {LOOPBACK}/32 scram-sha-256",
    f"host replication {ROLE} {LOOPBACK}/32 scram-sha-256",
)
DATA_FOLDER = "SELECT current_setting('data_directory')"


class LogicalPostgres(NamedTuple):
    """The server, and how a client in Java gets to it."""

    server: Server
    port: int
    role: str
    password: str


@asynccontextmanager
async def logical_postgres(place: Place) -> AsyncIterator[LogicalPostgres]:
    """Start a new server; it is stopped on exit."""
    folder = place.folder / place.new_name()
    servers = EmbeddedServers(folder)
    port, password = free_port(but=NO_PORT), secrets.token_hex()
    try:
        await _change_settings(await servers.start_postgres(), port=port, password=password)
        await postgres.stop(folder / "postgres")
        dsn = await servers.start_postgres()
        server = Server(dsn, first_process(folder / "postgres", "postgres"))
        yield LogicalPostgres(server, port, ROLE, password)
    finally:
        await servers.stop()


async def _change_settings(dsn: str, *, port: int, password: str) -> None:
    connection = await connect(as_superuser(dsn))
    try:
        hba_file = f"{await connection.fetchval(DATA_FOLDER)}/pg_hba_replication.conf"
        # Written by the server, which may be another user than we.
        rows = ", ".join(f"('{line}')" for line in HBA)
        await connection.execute(f"COPY (VALUES {rows}) TO '{hba_file}'")
        settings = {"wal_level": "logical", "listen_addresses": LOOPBACK, "port": port, "hba_file": hba_file}
        for name, value in settings.items():
            await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await connection.execute(f"CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD '{password}'")
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


def as_superuser(dsn: str) -> str:
    """The DSN of the same database for its superuser."""
    return urlsplit(dsn)._replace(netloc="postgres@").geturl()
