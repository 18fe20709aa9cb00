"""A start that cannot succeed, whatever PostgreSQL is waited for: one line, and the end. A PostgreSQL that is away is
waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.command_line import command
from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.own_postgres import OwnPostgres
from tests.support.servers.worker_process import WorkerProcess

HBA = """\
local all postgres trust
local all headrace trust
local unlisted all reject
local all all scram-sha-256
"""
ROLES = """
CREATE ROLE known LOGIN PASSWORD 'right-word';
CREATE ROLE reader LOGIN PASSWORD 'right-word';
"""
CASES = {
    "wrong password": ("user=known&password=wrong-word", "migrated", "refuses the login: password authentication"),
    "no such role": ("user=nobody&password=right-word", "migrated", "refuses the login"),
    "not in pg_hba.conf": ("user=known&password=right-word", "unlisted", "refuses the login: pg_hba.conf rejects"),
    "no such database": ("user=known&password=right-word", "missing", 'database "missing" does not exist'),
    "no right to connect": ("user=known&password=right-word", "closed", "GRANT CONNECT"),
    "verify-full without a CA": (
        "user=known&password=right-word&sslmode=verify-full",
        "migrated",
        "root certificate file",
    ),
    "a CA file that is not there": (
        "user=known&password=right-word&sslmode=verify-full&sslrootcert=/nowhere.crt",
        "migrated",
        "sslrootcert=/nowhere.crt",
    ),
    "a schema without rights": ("user=known&password=right-word", "empty", "GRANT CREATE ON SCHEMA public TO known"),
    "tables without rights": ("user=reader&password=right-word", "migrated", "outbox (INSERT)"),
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    """A server that wants passwords, with databases that lack something."""

    async def prepare(server: OwnPostgres) -> None:
        await server.start()
        migrated = await server.new_database()
        (server.folder / "pg_hba.conf").write_text(HBA)
        await server.execute(f"ALTER DATABASE {migrated} RENAME TO migrated; SELECT pg_reload_conf(); {ROLES}")
        for name in ("empty", "closed"):
            await server.execute(f"CREATE DATABASE {name} OWNER headrace")
        await server.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        await server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", "migrated")

    with server_folder() as folder:
        server = OwnPostgres(folder)
        asyncio.run(prepare(server))
        yield server
        asyncio.run(server.stop())


def run(worker: WorkerProcess, *arguments: str) -> tuple[int, list[str]]:
    ended = command("worker", *arguments, settings=worker._environment)
    return ended.returncode, ended.stderr.splitlines()


@pytest.mark.parametrize("case", CASES)
def test_a_start_that_cannot_succeed_says_one_line_and_ends(
    tmp_path: Path, postgres: OwnPostgres, kafka: str, case: str
) -> None:
    parameters, database, told = CASES[case]
    dsn = f"{postgres.dsn(database, user='')}&{parameters}".replace("//@", "//")
    worker = WorkerProcess(tmp_path, DATABASE_URL=dsn, BROKER_URL=kafka, TOPIC="unused", LOG_LEVEL="WARNING")
    code, lines = run(worker)
    assert code != 0
    assert len(lines) == 1, lines
    assert lines[0].startswith("headrace: ")
    assert told in lines[0]
    assert "word" not in lines[0].replace("password", "")


def test_all_that_is_wrong_is_reported_together(tmp_path: Path, postgres: OwnPostgres, kafka: str) -> None:
    (tmp_path / "file").touch()
    worker = WorkerProcess(tmp_path, BROKER_URL="", DATABASE_URL=postgres.dsn("missing"), LOG_LEVEL="WARNING")
    taken = kafka.rpartition(":")[2]
    worker.set(INGESTION_PORT=taken, EMBEDDED_KAFKA_PORT=taken, DATA_DIR=str(tmp_path / "file" / "data"))
    code, lines = run(worker)
    assert code != 0
    expected = ("INGESTION_PORT", "DATA_DIR", "EMBEDDED_KAFKA_PORT", "missing")
    assert [name for name in expected if not any(name in line for line in lines)] == []
    assert len(lines) == len(expected), lines


async def test_a_schema_without_rights_is_migrated_by_nobody(tmp_path: Path, postgres: OwnPostgres, kafka: str) -> None:
    taken = kafka.rpartition(":")[2]
    worker = WorkerProcess(tmp_path, DATABASE_URL=postgres.dsn("empty"), BROKER_URL=kafka, QUERY_PORT=taken)
    code, lines = await asyncio.to_thread(run, worker)
    assert code != 0
    assert "QUERY_PORT" in lines[-1]
    assert await postgres.column("SELECT to_regclass('schema_migrations')", "empty") == [None]


async def test_a_role_that_may_not_create_works_in_a_migrated_database(
    tmp_path: Path, postgres: OwnPostgres, kafka: str, topic: str
) -> None:
    grants = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO known"
    await postgres.execute(f"{grants}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO known", "migrated")
    dsn = f"{postgres.dsn('migrated', user='')}&user=known&password=right-word".replace("//@", "//")
    worker = WorkerProcess(tmp_path, DATABASE_URL=dsn, BROKER_URL=kafka, TOPIC=topic, SERVICES="ingestion,query")
    worker.start()
    try:
        await worker.ready()
    finally:
        assert worker.stop() == 0


async def test_a_password_that_is_changed_while_a_worker_runs_does_not_end_it(
    tmp_path: Path, postgres: OwnPostgres, topic: str
) -> None:
    await postgres.execute("CREATE DATABASE rotated OWNER known")
    dsn = f"{postgres.dsn('rotated', user='')}&user=known&password=right-word".replace("//@", "//")
    worker = WorkerProcess(
        tmp_path, DATABASE_URL=dsn, BROKER_URL=f"kafka://127.0.0.1:{free_port()}", TOPIC=topic, SERVICES="ingestion"
    )
    worker.start()
    try:
        await worker.ready()
        await postgres.execute("ALTER ROLE known PASSWORD 'other'")
        ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'rotated'"
        await postgres.execute(ends)
        await asyncio.sleep(3)  # to see that it does not end
        await postgres.execute("ALTER ROLE known PASSWORD 'right-word'")
        await worker.ready()
    finally:
        await postgres.execute("ALTER ROLE known PASSWORD 'right-word'")
        assert worker.stop() == 0
