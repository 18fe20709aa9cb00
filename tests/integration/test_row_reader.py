"""Single rows for many requests at once."""

from __future__ import annotations

import asyncio

import pytest

from tables.database import Database, Pool, connect, is_away
from tables.projections.rows import RowReader

from tests.support.clients.query_client import write


async def test_many_requests_at_once_share_reads_and_each_gets_its_row(database: Database, pool: Pool) -> None:
    for number in range(500):
        await write(pool, str(number), f'{{"n": {number}}}')
    reader = RowReader(database)
    rows = await asyncio.gather(*(reader.read("things", str(number)) for number in range(501)))
    assert [row and bytes(row.state) for row in rows[:500]] == [f'{{"n": {n}}}'.encode() for n in range(500)]
    assert rows[500] is None
    used = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'headrace' AND datname = current_database()"
    assert await pool.fetchval(used) == 1


async def test_a_request_sees_what_was_committed_before_it_came(database: Database, pool: Pool) -> None:
    reader = RowReader(database)
    stop = False

    async def keep_reading() -> None:
        while not stop:
            await reader.read("things", "k")

    others = [asyncio.create_task(keep_reading()) for _ in range(5)]
    for number in range(100):
        await write(pool, "k", f'{{"n": {number}}}')
        row = await reader.read("things", "k")
        assert row is not None
        assert bytes(row.state) == f'{{"n": {number}}}'.encode()
    stop = True
    await asyncio.gather(*others)


async def test_a_request_that_went_away_disturbs_no_other(database: Database, pool: Pool) -> None:
    await write(pool, "k")
    reader = RowReader(database)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE projections IN ACCESS EXCLUSIVE MODE")
        gone = asyncio.create_task(reader.read("things", "k"))
        waits = asyncio.create_task(reader.read("things", "k"))
        await waits_for_lock(pool)
        gone.cancel()
    assert await waits is not None
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_when_postgresql_goes_away_all_that_wait_are_told_and_later_ones_are_answered(
    database: Database, database_dsn: str, pool: Pool
) -> None:
    await write(pool, "k")
    reader = RowReader(database)
    blocker = await connect(database_dsn, timeout_seconds=10)
    await blocker.execute("BEGIN; LOCK TABLE projections IN ACCESS EXCLUSIVE MODE")
    waiting = [asyncio.create_task(reader.read("things", "k")) for _ in range(3)]
    pid = await waits_for_lock(pool)
    await pool.execute("SELECT pg_terminate_backend($1)", pid)
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, BaseException) and is_away(error) for error in errors)
    await blocker.close()
    assert await reader.read("things", "k") is not None


async def test_before_postgresql_is_known_requests_are_told_that_it_is_away() -> None:
    reader = RowReader(Database(pool_size=2, timeout_seconds=1))
    errors = await asyncio.gather(*(reader.read("things", "k") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(error, BaseException) and is_away(error) for error in errors)


async def waits_for_lock(pool: Pool) -> int:
    """Return when a connection waits for a lock; its process id."""
    async with asyncio.timeout(10):
        while True:
            pid: int | None = await pool.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if pid is not None:
                return pid
