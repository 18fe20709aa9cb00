"""`faust -A app verify`, beside a worker that takes events in."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tables.database import Pool
from tables.intake import outbox

from tests.support.clients.journal import Client
from tests.support.data.events import event
from tests.support.servers.command_line import command
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until


def verify(settings: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    ended = command("verify", *arguments, settings={**settings, "PYTHONWARNINGS": "ignore"}, seconds=120)
    return ended.returncode, ended.stdout, ended.stderr


async def test_a_live_system_agrees_and_a_row_changed_by_hand_is_told(
    tmp_path: Path, database_dsn: str, kafka: str, topic: str, pool: Pool
) -> None:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    try:
        await worker.ready()
        clients = [Client(worker.ingestion, f"c{number}", events=3_000, seed=5) for number in range(2)]
        posting = asyncio.gather(*(client.run() for client in clients))

        async def some_are_applied() -> bool:
            return bool(await pool.fetchval("SELECT count(*) > 20 FROM projections"))

        await until(some_are_applied, 30)
        for _ in range(3):
            code, out, err = await asyncio.to_thread(verify, settings, "--json")
            assert code == 0, out + err
        await posting

        async def all_are_applied() -> bool:
            counted = "SELECT sum((state->>'count')::bigint) FROM projections WHERE projection = 'event_types'"
            return bool(await pool.fetchval(counted) == 6_000)

        await until(all_are_applied, 30)
    finally:
        assert worker.stop() == 0

    code, out, _ = verify(settings)
    assert code == 0
    assert "6000 events of the store" in out
    assert out.splitlines()[-1] == "OK, no differences"

    key = await pool.fetchval(
        "DELETE FROM projections WHERE (projection, key) = (SELECT projection, key FROM "
        "projections WHERE projection = 'devices' LIMIT 1) RETURNING key"
    )
    code, out, _ = verify(settings, "--json")
    told: dict[str, Any] = json.loads(out)
    assert (code, told["agree"]) == (1, False)
    assert [(one["kind"], one["count"]) for one in told["differences"]] == [("row_missing", 1)]
    assert key in told["differences"][0]["first"]
    code, out, _ = verify(settings)
    assert (code, out.splitlines()[-1]) == (1, "FAILED, 1 kind of difference")
    assert f"row_missing: 1, the first: {told['differences'][0]['first']}" in out
    assert verify(settings, "--projection", "event_types", "--skip-topic")[0] == 0
    code, _, err = verify(settings, "--projection", "none")
    assert (code, "There is no projection none" in err) == (1, True)
    code, _, err = verify({**settings, "BROKER_URL": "kafka://127.0.0.1:1"})
    assert code == 1
    assert "BROKER_URL" in err.splitlines()[-1]


async def test_what_is_published_and_not_deleted_is_told_until_the_next_relay_deletes_it(
    tmp_path: Path, database_dsn: str, kafka: str, topic: str, pool: Pool
) -> None:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    async with pool.acquire() as connection:
        await outbox.accept(connection, [event(1)])
    worker = WorkerProcess(tmp_path, **settings, FAULT_POINTS="relay.published=kill")
    worker.start()
    try:

        async def is_killed() -> bool:
            return worker.process.poll() is not None

        await until(is_killed, 30)
        code, out, _ = verify(settings)
        assert (code, out.splitlines()[-1]) == (0, "OK, no differences")  # a relay may still delete it

        await pool.execute(
            "GRANT UPDATE ON event_store TO CURRENT_USER;"
            "ALTER TABLE event_store DISABLE TRIGGER event_store_is_append_only;"
            "UPDATE event_store SET recorded_at = recorded_at - interval '2 min';"
            "ALTER TABLE event_store ENABLE ALWAYS TRIGGER event_store_is_append_only"
        )
        code, out, _ = verify(settings, "--json")
        told = json.loads(out)["differences"]
        assert (code, [(one["kind"], one["count"]) for one in told]) == (1, [("outbox_not_deleted", 1)])
        seq = await pool.fetchval("SELECT seq FROM outbox")
        assert f"seq {seq}: " in told[0]["first"]

        worker.set(FAULT_POINTS="")
        worker.start()

        async def is_deleted() -> bool:
            return not await pool.fetchval("SELECT count(*) FROM outbox")

        await until(is_deleted, 30)
        assert verify(settings)[0] == 0
    finally:
        worker.kill()
