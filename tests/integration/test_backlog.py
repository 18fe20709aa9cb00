"""The depth of the outbox, estimated from its numbers, against what a count says."""

from __future__ import annotations

import pytest

from agents.upkeep.backlog_watch import BacklogWatch
from tables.database import Connection, Database, Pool
from tables.intake.backlog import Backlog, Depth, measure

from tests.support.waiting import until

FILL = """
INSERT INTO outbox (seq, id, source, event_type, event_time, partition_key, key_hash, event)
OVERRIDING SYSTEM VALUE
SELECT n * $2, n, '/tests', 'tested', now(), 'k', 1, '{"n":1}' FROM generate_series(1, $1::bigint) AS n
"""


async def test_an_empty_outbox_has_no_depth(connection: Connection) -> None:
    assert await measure(connection) == Depth(0, 0, 0.0, 0)


async def test_a_short_outbox_is_counted(connection: Connection) -> None:
    await connection.execute(FILL, 300, 3)
    await connection.execute("UPDATE outbox SET received_at = now() - interval '1 minute' WHERE seq = 3")
    found = await measure(connection)
    assert found.events == 300
    assert found.size_bytes == await connection.fetchval("SELECT sum(pg_column_size(event)) FROM outbox")
    assert 60 <= found.oldest_seconds < 120


@pytest.mark.parametrize("step", [1, 4])
async def test_a_long_outbox_is_estimated_whether_or_not_numbers_are_missing(connection: Connection, step: int) -> None:
    await connection.execute(FILL, 30_000, step)
    found = await measure(connection)
    assert found.events == pytest.approx(30_000, rel=0.1)


async def test_a_plan_made_for_an_empty_outbox_still_serves_a_long_one(connection: Connection) -> None:
    for _ in range(10):
        await measure(connection)
    await connection.execute(FILL, 50_000, 1)
    await measure(connection)
    await connection.fetchval("SELECT pg_stat_force_next_flush()")
    assert await connection.fetchval("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'outbox'") == 0


async def test_the_watch_notes_what_it_sees_and_forgets_when_postgresql_is_away(database: Database, pool: Pool) -> None:
    backlog = Backlog(max_events=100, max_bytes=10**9)
    watch = BacklogWatch(database, backlog)
    await pool.execute(FILL, 100, 1)
    await watch.start()
    try:

        async def refuses() -> bool:
            return backlog.retry_after_seconds is not None

        await until(refuses, 10)
        database.close()

        async def has_forgotten() -> bool:
            return backlog.depth is None

        await until(has_forgotten, 10)
    finally:
        await watch.stop()
