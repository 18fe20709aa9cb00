"""The tables that the outside may read: their columns, and what the database itself sees to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tables.database import Connection, Pool
from tables.lock_keys import OF_SCHEMA, LockKey
from tables.migrate import migrations

from tests.support.clients.topic_reader import read_records
from tests.support.servers.fresh import database_url, new_topic
from tests.support.servers.system import STRUCTURED, WAIT, System, envelope, running
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

WAIT_FOR_LOCK = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND classid::bigint = $1::bigint % 1000000000 AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
PRIVILEGES = "SELECT has_table_privilege('event_store', privilege) FROM unnest($1::text[]) AS privilege"


@pytest.fixture
async def session(system: System) -> AsyncIterator[Connection]:
    """Of the role that the services use."""
    opened: Connection = await asyncpg.connect(system.dsn)
    yield opened
    await opened.close()


async def test_outbox_holds_a_row_until_its_event_is_both_stored_and_published(
    tmp_path: Path, database_dsn: str, kafka: str, topic: str, pool: Pool
) -> None:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "SERVICES": "ingestion"}
    halting = WorkerProcess(tmp_path, FAULT_POINTS="relay.stored=sleep:3600", **settings)
    event = envelope("/tests/outbox", subject="s", time="2026-01-31T12:00:00Z", data={"n": 1.50})

    async def is_stored() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM event_store"))

    async def is_gone() -> bool:
        return not await pool.fetchval("SELECT count(*) FROM outbox")

    halting.start()
    try:
        await halting.ready()
        assert (await System(halting, database_dsn, "", topic).post(event)).status == 202
        await until(is_stored, 30)
        row = await pool.fetchrow("SELECT seq, id, source, event_type, event::text AS event FROM outbox")
        assert row is not None, "stored, and not published yet"
        assert row["seq"] > 0
        assert (row["id"], row["source"], row["event_type"]) == (event["id"], event["source"], event["type"])
        assert json.loads(row["event"]) == event
    finally:
        halting.kill()
    async with running(tmp_path, **settings):
        await until(is_gone, 30)
        (record,) = await read_records(kafka.removeprefix("kafka://"), topic, 1)
        assert json.loads(record.value)["id"] == event["id"]


async def test_event_store_has_every_event_with_its_position(system: System, session: Connection) -> None:
    sent = [envelope("/tests/store", subject=f"s{n}", time="2026-01-31T12:00:00.25Z", data=n) for n in range(5)]
    before = datetime.now(UTC)
    for event in sent:
        assert (await system.post(event, {**STRUCTURED, **WAIT})).status == 201
    rows = await session.fetch(
        "SELECT position, id, source, event_type, subject, event_time, recorded_at, event::text AS event"
        " FROM event_store WHERE source = '/tests/store' ORDER BY position"
    )
    assert [json.loads(row["event"]) for row in rows] == sent
    for row, event in zip(rows, sent, strict=True):
        assert (row["id"], row["source"], row["event_type"]) == (event["id"], event["source"], event["type"])
        assert (row["subject"], row["event_time"]) == (event["subject"], datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC))
        assert before <= row["recorded_at"] <= datetime.now(UTC)


async def test_position_is_1_2_3_without_gaps_in_the_order_of_commits(system: System, session: Connection) -> None:
    """A reader that remembers a position misses nothing, whoever posts at the same time."""
    events = [envelope(f"/tests/positions/{n % 7}") for n in range(100)]
    seen: list[int] = []

    async def read_on() -> None:
        while len(seen) < len(events):
            rows = await session.fetch(
                "SELECT position FROM event_store WHERE position > $1 AND source LIKE '/tests/positions/%' ORDER BY 1",
                seen[-1] if seen else 0,
            )
            seen.extend(row["position"] for row in rows)

    async with asyncio.timeout(60):
        await asyncio.gather(read_on(), *(system.post(event) for event in events))
    assert len(seen) == len(events)
    positions = [row["position"] for row in await session.fetch("SELECT position FROM event_store ORDER BY position")]
    assert positions == list(range(1, len(positions) + 1))


async def test_source_and_id_are_unique_in_event_store(system: System, session: Connection) -> None:
    await system.post(envelope("/tests/unique"), {**STRUCTURED, **WAIT})
    with pytest.raises(asyncpg.UniqueViolationError):
        await session.execute(
            "INSERT INTO event_store (position, id, source, event_type, event_time, received_at, partition, event)"
            " SELECT 1000000, id, source, event_type, event_time, received_at, partition, event FROM event_store"
            " WHERE source = '/tests/unique'"
        )


async def test_the_role_of_the_services_can_insert_and_select_alone(session: Connection) -> None:
    """That the database itself refuses the rest, whoever asks, is in tests/integration/test_outbox.py."""

    async def may(*privileges: str) -> set[bool]:
        return {row[0] for row in await session.fetch(PRIVILEGES, privileges)}

    assert await may("SELECT", "INSERT") == {True}
    assert await may("UPDATE", "DELETE", "TRUNCATE") == {False}


async def test_projections_has_the_rows_that_are_answered(system: System, session: Connection) -> None:
    reading: dict[str, Any] = {"type": "reading.recorded", "subject": "in-table", "time": "2026-01-31T12:00:00Z"}
    for value in (1, 2):
        event = envelope("/tests/rows", **reading, data={"metric": "n", "value": value})
        assert (await system.post(event, {**STRUCTURED, **WAIT})).status == 201
    row = await session.fetchrow(
        "SELECT projection, key, state::text AS state, position, version, updated_at FROM projections"
        " WHERE projection = 'devices' AND key = 'in-table'"
    )
    assert row is not None
    answer = (await system.get("/api/v1/projections/devices/in-table")).json
    assert datetime.fromisoformat(answer["updated_at"]) == row["updated_at"]
    assert {**row, "state": json.loads(row["state"]), "updated_at": answer["updated_at"]} == answer
    assert (answer["version"], answer["state"]["readings"]) == (2, 2)


async def test_migrations_are_applied_once_each_under_a_lock_when_workers_start(
    tmp_path: Path, postgres_dsn: str, kafka: str
) -> None:
    server: Connection = await asyncpg.connect(postgres_dsn)
    await server.execute("CREATE DATABASE not_migrated")
    dsn = database_url(postgres_dsn, "not_migrated")
    session: Connection = await asyncpg.connect(dsn)
    await session.execute(f"SELECT pg_advisory_lock({OF_SCHEMA})", LockKey.MIGRATE)
    settings = {"DATABASE_URL": dsn, "BROKER_URL": kafka, "TOPIC": new_topic()}
    workers = [WorkerProcess(tmp_path, SERVICES=name, **settings) for name in ("ingestion", "query")]

    async def both_wait() -> bool:
        return bool(await session.fetchval(WAIT_FOR_LOCK, LockKey.MIGRATE) == len(workers))

    for worker in workers:
        worker.start()
    try:
        await until(both_wait, 60)
        assert await session.fetchval("SELECT to_regclass('outbox')") is None
        await session.execute(f"SELECT pg_advisory_unlock({OF_SCHEMA})", LockKey.MIGRATE)
        for worker in workers:
            await worker.ready()
        applied = await session.fetch("SELECT number, name FROM schema_migrations ORDER BY number")
        assert [tuple(row) for row in applied] == [(one.number, one.name) for one in migrations()]
    finally:
        assert [worker.stop() for worker in workers] == [0, 0]
        await session.close()
    await server.execute("DROP DATABASE not_migrated WITH (FORCE)")
    await server.close()
