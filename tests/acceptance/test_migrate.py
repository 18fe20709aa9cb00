"""`faust -A app migrate`."""

from __future__ import annotations

import os
import subprocess

import asyncpg

from tests.support.servers.command_line import command
from tests.support.servers.fresh import database_url, free_port


def migrate(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": dsn, "PYTHONWARNINGS": "ignore"}
    return command("migrate", *arguments, settings=environment)


async def test_an_empty_database_gets_every_table_and_nothing_twice(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("CREATE DATABASE migrated")
    dsn = database_url(postgres_dsn, "migrated")
    first, second = migrate(dsn), migrate(dsn)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "applied 001_events" in first.stdout
    assert second.stdout.strip() == "OK, nothing to do"
    migrated = await asyncpg.connect(dsn)
    tables = {
        row["tablename"] for row in await migrated.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    }
    assert {"outbox", "event_store", "projections"} <= tables
    await migrated.execute("INSERT INTO schema_migrations (number, name) VALUES (999, '999_from_the_future')")
    newer = migrate(dsn)
    assert newer.returncode != 0
    assert newer.stderr.startswith("headrace: The database has migration 999")
    await migrated.close()
    await connection.execute("DROP DATABASE migrated")
    await connection.close()


def test_help_has_an_example() -> None:
    assert "\n    faust -A app migrate\n" in migrate("", "--help").stdout


def test_a_database_that_is_away_is_one_clear_line() -> None:
    ended = migrate(f"postgresql://x@127.0.0.1:{free_port()}/x")
    assert ended.returncode != 0
    assert len(ended.stderr.splitlines()) == 1
    assert "DATABASE_URL" in ended.stderr
