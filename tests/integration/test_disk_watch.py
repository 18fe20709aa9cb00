"""Telling, asking and probing: what workers know of PostgreSQL's disk."""

from __future__ import annotations

import asyncpg

from agents.upkeep.disk_watch import DiskWatch
from tables.database import Connection, Database
from tables.intake import disk_space
from tables.intake.disk_space import DiskSpace

from tests.support.waiting import until

FULL = asyncpg.DiskFullError("could not extend file")


async def test_the_probe_holds_its_room_on_the_disk_and_writes_no_log(connection: Connection) -> None:
    before = await connection.fetchval("SELECT pg_current_wal_insert_lsn()")
    assert await disk_space.has_space(connection)
    written = await connection.fetchval("SELECT pg_current_wal_insert_lsn() - $1", before)
    await connection.fetchval("SELECT pg_stat_force_next_flush()")
    held = await connection.fetchval("SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()")
    assert written < 1_000_000
    assert 48 * 1024 * 1024 <= held < 100 * 1024 * 1024


async def test_other_errors_do_not_count() -> None:
    space = DiskSpace()
    space.note_error(asyncpg.OutOfMemoryError("out of memory"))
    assert not space.is_full
    space.note_error(FULL)
    assert space.is_full


async def test_what_one_worker_tells_all_hear_until_its_session_ends(
    database: Database, connection: Connection
) -> None:
    space = DiskSpace()
    watch = DiskWatch(database, space)
    await watch.start()
    try:
        await disk_space.announce(connection)

        async def is_full() -> bool:
            return space.is_full

        async def has_room() -> bool:
            return not space.is_full

        await until(is_full, 10)
        assert not space.reported_here
        connection.terminate()
        await until(has_room, 10)
    finally:
        await watch.stop()


async def test_after_a_refused_statement_a_probe_lets_all_write_again(database: Database) -> None:
    space = DiskSpace()
    watch = DiskWatch(database, space)
    await watch.start()
    try:
        space.note_error(FULL)
        await space.wait_for_space()
        assert not space.reported_here
    finally:
        await watch.stop()
        await watch.stop()
