"""`faust -A app verify`, beside a worker that takes events in."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tables.database import Pool

from clients import Client
from waiting import until
from worker_process import ROOT, WorkerProcess


def verify(settings: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    ended = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "app", "verify", *arguments],
        cwd=ROOT,
        env={**settings, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
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
    assert "they agree" in out

    key = await pool.fetchval(
        "DELETE FROM projections WHERE (projection, key) = (SELECT projection, key FROM "
        "projections WHERE projection = 'devices' LIMIT 1) RETURNING key"
    )
    code, out, _ = verify(settings, "--json")
    told: dict[str, Any] = json.loads(out)
    assert (code, told["agree"]) == (1, False)
    assert [(one["kind"], one["count"]) for one in told["differences"]] == [("row_missing", 1)]
    assert key in told["differences"][0]["first"]
    assert verify(settings, "--projection", "event_types", "--skip-topic")[0] == 0
    code, _, err = verify(settings, "--projection", "none")
    assert (code, "There is no projection none" in err) == (1, True)
    code, _, err = verify({**settings, "BROKER_URL": "kafka://127.0.0.1:1"})
    assert code == 1
    assert "BROKER_URL" in err.splitlines()[-1]
