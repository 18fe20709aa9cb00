"""PostgreSQL restarts, goes away, runs out of connections and of disk, is slow, and breaks off what is in flight."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.faults.fault_fixtures import MakeTrial
from tests.faults.faulty_worker import during
from tests.faults.trial import Trial
from tests.support.servers.fresh import free_port
from tests.support.servers.own_postgres import OwnPostgres, SmallDisk
from tests.support.servers.tcp_proxy import Link, Passing, TcpProxy

# The 5 s are for a machine that has nothing else to do: here two cores carry clients, workers and servers.
BACK_SECONDS = 8.0
CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'headrace' AND state = 'active'"


async def database_of(trial: Trial) -> str:
    connection = await asyncpg.connect(trial.dsn)
    name: str = await connection.fetchval("SELECT current_database()")
    await connection.close()
    return name


async def test_an_immediate_restart(postgres_trial: Trial, own_postgres: OwnPostgres, chance: random.Random) -> None:
    """PostgreSQL is stopped with -m immediate and started again, twice"""
    trial = postgres_trial
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    for turn in range(2):
        await asyncio.sleep(chance.uniform(0.5, 2))
        await trial.note_under_way()
        await own_postgres.stop_immediately()
        await own_postgres.start()
        await trial.resumed(f"restart {turn + 1}", within=BACK_SECONDS)
    trial.bit(requests_without_an_answer=trial.clients.journal.unanswered, reads_that_failed=trial.failed_reads)
    await trial.verdict()


async def test_every_process_of_postgres_is_killed(postgres_trial: Trial, own_postgres: OwnPostgres) -> None:
    """kill -9 of every process of PostgreSQL"""
    trial = postgres_trial
    worker = await trial.start()
    await trial.load(worker)
    await trial.note_under_way()
    await own_postgres.kill()
    await own_postgres.start()
    await trial.resumed("kill and start", within=BACK_SECONDS)
    trial.bit(requests_without_an_answer=trial.clients.journal.unanswered)
    await trial.verdict()


@pytest.mark.slow_faults
async def test_postgres_is_away_for_30_seconds(postgres_trial: Trial, own_postgres: OwnPostgres) -> None:
    """PostgreSQL is away for 30 s"""
    trial = postgres_trial
    worker = await trial.start()
    trial.read(worker)
    await trial.load(worker)
    await trial.note_under_way()
    await own_postgres.stop_immediately()
    await asyncio.sleep(30)
    await own_postgres.start()
    await trial.resumed("return", within=BACK_SECONDS)
    journal = trial.clients.journal
    trial.bit(answers_503=journal.answers["503"], reads_that_failed=trial.failed_reads)
    assert journal.slowest_seconds < 10
    assert len(worker.log.read_text().splitlines()) < 300, "the log repeats itself"
    await trial.verdict()


async def test_connections_run_out(postgres_trial: Trial, own_postgres: OwnPostgres) -> None:
    """PostgreSQL has no connection left, and ends those that there are"""
    trial = postgres_trial
    worker = await trial.start()
    await trial.load(worker)
    await trial.note_under_way()
    hoard = [await asyncpg.connect(trial.dsn) for _ in range(2)]
    await own_postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headrace'"
    )
    try:
        while True:
            hoard.append(await asyncpg.connect(trial.dsn))
    except asyncpg.TooManyConnectionsError:
        pass
    await during(5)
    for connection in hoard:
        connection.terminate()
    await trial.resumed("the connections' end", within=BACK_SECONDS)
    trial.bit(connections_taken=len(hoard), requests_without_an_answer=trial.clients.journal.unanswered)
    await trial.verdict()


async def test_statements_are_cancelled(postgres_trial: Trial, own_postgres: OwnPostgres) -> None:
    """every statement that runs is cancelled every 20 ms, while a table is locked now and then"""
    trial = postgres_trial
    database = await database_of(trial)
    worker = await trial.start()
    await trial.load(worker)
    await trial.note_under_way()
    cancelled = 0
    for table in ("outbox", "projections", "progress", "event_store", "relay_state") * 3:
        lock = own_postgres.execute(f"BEGIN; LOCK TABLE {table}; SELECT pg_sleep(0.3); COMMIT", database)
        locking = asyncio.create_task(lock)
        while not locking.done():
            cancelled += len(await own_postgres.column(CANCEL, database))
            await during(0.02)
        await locking
        await trial.note_under_way()
    await trial.resumed("the last of them", within=BACK_SECONDS)
    trial.bit(
        answers_503=trial.clients.journal.answers["503"],
        statements_cancelled=trial.said("canceling statement"),
        cancellations=cancelled,
    )
    await trial.verdict()


async def test_deadlocks(postgres_trial: Trial, own_postgres: OwnPostgres, chance: random.Random) -> None:
    """another session locks rows of projections and progress in the wrong order, again and again"""
    trial = postgres_trial
    await own_postgres.execute("ALTER SYSTEM SET deadlock_timeout = '20ms'")
    await own_postgres.execute("SELECT pg_reload_conf()")
    worker = await trial.start()
    await trial.load(worker, keys=8)
    stranger = await asyncpg.connect(trial.dsn)
    before = await _deadlocks(stranger)
    try:
        for _ in range(60):
            rows = chance.sample(range(1, 9), 4)
            try:
                async with stranger.transaction():
                    for number in rows:
                        await stranger.execute(
                            "SELECT FROM projections WHERE key LIKE $1 FOR UPDATE", f"device-{number}%"
                        )
                        await asyncio.sleep(0.01)
                    await stranger.execute("SELECT FROM progress ORDER BY partition DESC FOR UPDATE")
            except asyncpg.DeadlockDetectedError:
                pass
            await trial.note_under_way()
        deadlocks = await _deadlocks(stranger) - before
    finally:
        await stranger.close()
        await own_postgres.execute("ALTER SYSTEM RESET deadlock_timeout")
    await trial.resumed("the last of them", within=BACK_SECONDS)
    trial.bit(deadlocks=deadlocks)
    await trial.verdict()


async def _deadlocks(connection: asyncpg.Connection[asyncpg.Record]) -> int:
    await connection.execute("SELECT pg_stat_force_next_flush()")
    found: int = await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return found


@pytest.fixture
async def small_disk(fault_folder: Path) -> AsyncIterator[SmallDisk]:
    """A file system for PostgreSQL that can be filled."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own is mounted by root alone")
    disk = SmallDisk(fault_folder / "small")
    try:
        disk.mount(160)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system can be mounted here: {error.stderr.decode().strip()}")
    yield disk
    disk.unmount()


async def test_the_disk_is_full(small_disk: SmallDisk, make_trial: MakeTrial, kafka: str) -> None:
    """the disk of PostgreSQL is full"""
    server = OwnPostgres(small_disk.folder)
    await server.start()
    try:
        trial = make_trial(server.dsn(await server.new_database()), kafka)
        worker = await trial.start()
        trial.read(worker)
        await trial.load(worker)
        await trial.note_under_way()
        filled = small_disk.fill()
        refused = trial.clients.journal.answers["503"]

        async def is_refused() -> bool:
            return trial.clients.journal.answers["503"] > refused + 10

        await trial.until(is_refused)
        await during(6)
        small_disk.free()
        if not server.processes:
            await server.start()
        await trial.resumed("room is there again", within=15)
        trial.bit(answers_503=trial.clients.journal.answers["503"] - refused)
        assert filled > 1_000_000
        await trial.verdict()
        await trial.stop()
    finally:
        await server.stop()


@pytest.fixture
async def listening(own_postgres: OwnPostgres) -> AsyncIterator[TcpProxy]:
    """What stands between a worker and PostgreSQL."""
    await own_postgres.start()
    proxy = TcpProxy(free_port(), own_postgres.socket)
    await proxy.start()
    yield proxy
    await proxy.stop()


def listens(link: Link) -> bool:
    return b"LISTEN" in link.said and not link.is_closed


async def test_the_connection_that_listens_is_ended(
    make_trial: MakeTrial, own_postgres: OwnPostgres, kafka: str
) -> None:
    """the connection that LISTENs is ended by PostgreSQL, ten times"""
    await own_postgres.start()
    database = await own_postgres.new_database()
    trial = make_trial(own_postgres.dsn(database), kafka)
    relaying = await trial.start("ingestion,event_handler")
    await trial.until_said("relay is active", relaying)
    other = await trial.start("ingestion")
    await trial.load(other)
    ended = 0
    for _ in range(10):
        ended += len(
            await own_postgres.column(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'"
                " OR (query = 'SELECT 1' AND application_name = 'headrace')",
                database,
            )
        )
        await trial.note_under_way()
        await trial.accepted(30)
    await trial.resumed("the last end", within=BACK_SECONDS)
    trial.bit(connections_ended=ended)
    await trial.verdict()


async def test_the_connection_that_listens_is_in_a_black_hole(
    listening: TcpProxy, make_trial: MakeTrial, own_postgres: OwnPostgres, kafka: str
) -> None:
    """the connection that LISTENs stays open, and nothing comes through it"""
    database = await own_postgres.new_database()
    trial = make_trial(own_postgres.dsn(database), kafka)
    through_the_proxy = f"postgresql://headrace@127.0.0.1:{listening.port}/{database}"
    relaying = await trial.start("ingestion,event_handler", DATABASE_URL=through_the_proxy)
    await trial.until_said("relay is active", relaying)
    other = await trial.start("ingestion")
    await trial.load(other)
    await trial.note_under_way()
    alive = [link for link in listening.links if listens(link)]
    for link in alive:
        link.passing = Passing.NOTHING

    async def listens_again() -> bool:
        return any(listens(link) and link not in alive for link in listening.links)

    await trial.resumed("the connection went dead", within=BACK_SECONDS)
    await trial.until(listens_again)
    trial.bit(connections_in_the_hole=len(alive), bytes_swallowed=sum(link.swallowed for link in alive))
    await trial.verdict()
