"""An answer is sent only after the events are committed, and a commit is one that a crash of the server leaves."""

from __future__ import annotations

import asyncio
import json

import pytest

from tables.database import Database, Pool

from tests.support.doors.open_door import OpenDoor, open_door
from tests.support.waiting import until

EVENT = json.dumps({"specversion": "1.0", "id": "1", "source": "/tests", "type": "tested"}).encode()
BATCH = b"[" + EVENT.replace(b'"1"', b'"2"') + b"," + EVENT.replace(b'"1"', b'"3"') + b"]"
LOCK = 4711
# Runs at the commit, when everything else is done.
AT_COMMIT = f"""
CREATE TABLE seen (synchronous_commit text);
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (current_setting('synchronous_commit'));
    PERFORM pg_advisory_xact_lock({LOCK});
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION at_commit();
"""
IN_COMMIT = f"SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted)"
OFF = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$"


@pytest.mark.parametrize("body", [EVENT, BATCH], ids=["one event", "a batch"])
async def test_an_answer_is_sent_only_after_the_events_are_committed(
    database: Database, pool: Pool, body: bytes
) -> None:
    await pool.execute(AT_COMMIT)

    async def in_commit() -> bool:
        return bool(await pool.fetchval(IN_COMMIT))

    async with open_door(database) as door, pool.acquire() as blocker:
        await blocker.execute("SELECT pg_advisory_lock($1)", LOCK)
        posting = asyncio.create_task(post(door, body))
        await until(in_commit, 20)
        assert not posting.done()
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
        await blocker.execute("SELECT pg_advisory_unlock($1)", LOCK)
        assert await posting == 202
        assert await pool.fetchval("SELECT count(*) FROM outbox") == body.count(b'"id"')


async def test_synchronous_commit_is_on_whatever_the_database_says(database: Database, pool: Pool) -> None:
    await pool.execute(OFF)
    await pool.execute(AT_COMMIT)
    async with open_door(database) as door:
        assert await post(door, EVENT) == 202
    assert await pool.fetchval("SELECT synchronous_commit FROM seen") == "on"


async def post(door: OpenDoor, body: bytes) -> int:
    status, _, _ = await door.post(body, {"Content-Type": "application/json"})
    return status
