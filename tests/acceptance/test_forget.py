"""A renamed projection on a whole worker: the log names the old name, a metric counts it, and `forget` removes it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import aiohttp
import pytest

from tables.database import Pool

from tests.support.servers.command_line import command
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

NO_BROKER = "kafka://127.0.0.1:1"
LEAVE = """
INSERT INTO projections (projection, key, state, position, version)
SELECT 'old_name', 'k' || n, '{}', n, 1 FROM generate_series(1, 3) AS n
"""


def forget(*arguments: str, dsn: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    settings = {"DATABASE_URL": dsn, "BROKER_URL": NO_BROKER, "MQTT_URL": "off"}
    return command("forget", *arguments, settings=settings, stdin=stdin)


async def test_a_renamed_projection_is_named_counted_and_forgotten(
    tmp_path: Path, database_dsn: str, pool: Pool
) -> None:
    await pool.execute(LEAVE)
    worker = WorkerProcess(tmp_path, DATABASE_URL=database_dsn, SERVICES="query", BROKER_URL=NO_BROKER)
    worker.start()
    try:
        await until(lambda: _counts(worker), 30)
    finally:
        assert worker.stop() == 0
    assert "old_name (3 rows, 0 parked events, 0 discarded events)" in worker.log.read_text()
    refused = forget("old_name", dsn=database_dsn)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--yes" in refused.stderr
    assert await pool.fetchval("SELECT count(*) FROM projections") == 3
    done = forget("old_name", "--yes", "--json", dsn=database_dsn)
    assert done.returncode == 0, done.stderr
    expected = {"projection": "old_name", "rows": 3, "parked": 0, "discarded": 0, "partitions": 0}
    assert json.loads(done.stdout) == expected
    assert await pool.fetchval("SELECT count(*) FROM projections") == 0
    logged = "SELECT detail->>'rows' FROM access_log WHERE action = 'projection.forgotten' AND target = 'old_name'"
    assert [row[0] for row in await pool.fetch(logged)] == ["3"]


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 3), ("y", 0, 0)])
async def test_it_asks_at_a_terminal(database_dsn: str, pool: Pool, answer: str, code: int, left: int) -> None:
    await pool.execute(LEAVE)
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, f"{answer}\n".encode())
        ended = forget("old_name", dsn=database_dsn, stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.startswith("To be deleted: old_name (3 rows, 0 parked events, 0 discarded events).")
    assert await pool.fetchval("SELECT count(*) FROM projections") == left


async def _counts(worker: WorkerProcess) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{worker.query}/metrics") as response:
            return 'headrace_leftover_rows{projection="old_name"} 3.0' in await response.text()
    except aiohttp.ClientError:
        return False


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("devices", "Projection devices exists in the code"),
        ("nothing", "nothing of a projection nothing. To forget: old"),
    ],
)
async def test_what_cannot_be_forgotten_is_refused_with_one_line(
    database_dsn: str, pool: Pool, name: str, said: str
) -> None:
    await pool.execute(LEAVE)
    refused = forget(name, "--yes", dsn=database_dsn)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert said in line
    assert await pool.fetchval("SELECT count(*) FROM projections") == 3


async def test_an_unfinished_removal_of_a_projection_that_is_back_is_finished(database_dsn: str, pool: Pool) -> None:
    await pool.execute(LEAVE.replace("old_name", "devices"))
    await pool.execute("INSERT INTO forgetting (projection) VALUES ('devices')")
    done = forget("devices", "--yes", dsn=database_dsn)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("deleted devices: rows 3, parked events 0, discarded events 0, partitions with progress 0\n")
    assert await pool.fetchval("SELECT count(*) FROM forgetting") == 0
