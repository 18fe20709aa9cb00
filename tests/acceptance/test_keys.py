"""A whole worker with AUTH=keys: keys made by the command, revoked within a second, and PostgreSQL away."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from headrace.access import key_text
from tables.database import Connection

from tests.support.servers.command_line import command
from tests.support.servers.fresh import free_port
from tests.support.servers.tcp_proxy import TcpProxy
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

NO_BROKER = "kafka://127.0.0.1:1"
PROJECTIONS = "/api/v1/projections"
REFUSED = """
SELECT caller, target, outcome, status, address, detail::text FROM access_log
WHERE action = 'request.refused' ORDER BY position
"""


class Commands:
    """`faust -A app keys …` on a database."""

    def __init__(self, dsn: str) -> None:
        self._environment = {
            "DATABASE_URL": dsn,
            "BROKER_URL": NO_BROKER,
            "MQTT_URL": "off",
            "PATH": os.environ["PATH"],
        }

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code, and what it printed."""
        ended = await asyncio.to_thread(command, "keys", *arguments, settings=self._environment)
        return ended.returncode, ended.stdout, ended.stderr

    async def json(self, *arguments: str) -> Any:
        """What it printed with --json."""
        code, printed, errors = await self.run(*arguments, "--json")
        assert code == 0, errors
        return json.loads(printed)


@pytest.fixture
def commands(database_dsn: str) -> Commands:
    return Commands(database_dsn)


@pytest.fixture
async def proxy(database_dsn: str) -> AsyncIterator[TcpProxy]:
    """The worker's way to PostgreSQL."""
    (host,) = parse_qs(urlsplit(database_dsn).query).get("host", [""])
    port = urlsplit(database_dsn).port or 5432
    opened = TcpProxy(free_port(), f"{host}/.s.PGSQL.{port}" if host else port)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def worker(tmp_path: Path, database_dsn: str, proxy: TcpProxy) -> AsyncIterator[WorkerProcess]:
    address = urlsplit(database_dsn)
    dsn = f"postgresql://{address.username or 'postgres'}@127.0.0.1:{proxy.port}{address.path}"
    started = WorkerProcess(
        tmp_path,
        DATABASE_URL=dsn,
        BROKER_URL=NO_BROKER,
        SERVICES="ingestion,query",
        AUTH="keys",
        INGESTION_HOST="0.0.0.0",  # noqa: S104 - beyond loopback, with AUTH
        DATABASE_TIMEOUT_SECONDS="1",
    )
    started.start()
    try:
        await started.ready()
        yield started
    finally:
        started.kill()  # without Kafka, a stop is not in time


async def status(address: str, key: str = "", method: str = "GET", body: Any = None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession(headers=headers) as client:  # noqa: SIM117 - the second needs the first
        async with client.request(method, address, json=body) as answer:
            return answer.status


async def test_a_key_is_made_on_the_host_and_revoked_within_a_second(worker: WorkerProcess, commands: Commands) -> None:
    made = await commands.json("create", "fleet", "--scopes", "write,read", "--sources", "/a/,b", "--expires", "90d")
    assert key_text.id_of(made["key"]) == made["id"]
    assert (made["name"], made["scopes"], made["sources"]) == ("fleet", ["write", "read"], ["/a/", "b"])
    assert made["created_by"].startswith("host:")
    event = {"specversion": "1.0", "id": "1", "source": "/a/1", "type": "t"}
    assert await status(f"{worker.ingestion}/api/v1/events", made["key"], "POST", event) == 202
    assert await status(f"{worker.ingestion}/api/v1/events", "", "POST", event) == 401
    assert await status(worker.query + PROJECTIONS, made["key"]) == 200
    assert await status(worker.query + "/metrics", made["key"]) == 403
    assert await status(worker.query + "/readyz") == 200
    assert await status(worker.query + "/readyz?verbose") == 401
    (shown,) = (await commands.json("show", "fleet"))["items"]
    assert shown == {name: value for name, value in made.items() if name != "key"} | {
        "last_used_at": shown["last_used_at"]
    }
    rotated = await commands.json("rotate", "fleet", "--overlap", "1h")
    assert await status(worker.query + PROJECTIONS, rotated["key"]) == 200
    assert await status(worker.query + PROJECTIONS, made["key"]) == 200
    assert len((await commands.json("list"))["items"]) == 2
    code, printed, _ = await commands.run("revoke", made["id"])
    revoked_at = time.monotonic()
    assert (code, "revoked" in printed) == (0, True)
    await until(lambda: _is(worker.query + PROJECTIONS, made["key"], 401), 1)
    assert time.monotonic() - revoked_at < 1
    assert await status(worker.query + PROJECTIONS, rotated["key"]) == 200
    assert made["key"] not in worker.log.read_text()


async def test_a_key_is_printed_for_people_once(commands: Commands) -> None:
    code, printed, errors = await commands.run("create", "ops", "--scopes", "admin")
    assert code == 0, errors
    key = printed.splitlines()[-1]
    assert key_text.is_key(key)
    for arguments in (("list",), ("show", "ops")):
        _, printed, _ = await commands.run(*arguments)
        assert str(key_text.id_of(key)) in printed
        assert key not in printed
    code, _, errors = await commands.run("create", "ops", "--scopes", "admin")
    assert (code, "rotate" in errors) == (1, True)
    code, _, errors = await commands.run("revoke", "nobody")
    assert (code, "nobody" in errors) == (1, True)
    code, _, errors = await commands.run("create", "x", "--scopes", "root")
    assert (code, "write, read, operate, audit, metrics, admin" in errors) == (2, True)


async def test_while_postgresql_is_away_keys_in_use_work_and_others_get_503(
    worker: WorkerProcess, commands: Commands, proxy: TcpProxy
) -> None:
    known, unknown = [(await commands.json("create", name, "--scopes", "read"))["key"] for name in ("known", "unknown")]
    assert await status(worker.query + "/docs", known) == 200
    proxy.refuse(refuse=True)
    proxy.reset()
    assert await status(worker.query + "/docs", known) == 200
    assert await status(worker.query + "/docs", unknown) == 503
    assert await status(worker.query + "/docs", key_text.make().key) == 503
    assert await status(worker.query + "/docs") == 401
    await commands.run("revoke", "known")
    proxy.refuse(refuse=False)
    await until(lambda: _is(worker.query + "/docs", known, 401), 20)
    assert await status(worker.query + "/docs", unknown) == 200


async def test_the_access_log_has_what_the_port_of_an_event_handler_alone_refuses(
    tmp_path: Path, database_dsn: str, commands: Commands, connection: Connection
) -> None:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": NO_BROKER, "SERVICES": "event_handler", "AUTH": "keys"}
    worker = WorkerProcess(tmp_path, **settings)
    worker.start()
    try:
        await worker.ready()
        reader = await commands.json("create", "reader", "--scopes", "read")
        assert await status(worker.health + "/livez") == 200
        assert await status(worker.health + "/metrics") == 401
        assert await status(worker.health + "/metrics", reader["key"]) == 403

        async def are_noted() -> bool:
            return len(await connection.fetch(REFUSED)) == 2

        await until(are_noted, 20)
    finally:
        worker.kill()  # without Kafka, a stop is not in time
    assert [tuple(row) for row in await connection.fetch(REFUSED)] == [
        ("", "GET /metrics", "refused", 401, "127.0.0.1", '{"code": "unauthorized"}'),
        (reader["id"], "GET /metrics", "refused", 403, "127.0.0.1", '{"code": "scope_missing"}'),
    ]


async def _is(address: str, key: str, expected: int) -> bool:
    return await status(address, key) == expected
