"""A worker's connections are divided by what they are for: none of the shares takes those of another."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from tables import database as tables_database
from tables.database import READ_SECONDS, Database, ReadsBusyError, Share, Sizes

from tests.support.clients.query_client import refused, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def small(database_dsn: str) -> AsyncIterator[Database]:
    """As many connections as a worker has at least."""
    opened = Database(pool_size=2, timeout_seconds=5)
    await opened.open(database_dsn)
    yield opened
    opened.close()


async def answers(database: Database, share: Share) -> None:
    async with database.acquire(share) as connection:
        await connection.fetchval("SELECT 1")


@pytest.mark.parametrize("pool_size", range(2, 40))
def test_the_shares_add_up_to_the_pool_size(pool_size: int) -> None:
    sizes = Sizes.of(pool_size)
    assert sum(sizes) == pool_size
    assert sizes.common >= 1
    assert 1 <= sizes.reads <= pool_size // 2
    assert sizes.door == (pool_size > 2)


async def test_busy_reads_leave_connections_for_all_others(small: Database) -> None:
    async with small.acquire("reads"):
        for share in ("door", "rows", "work"):
            await answers(small, share)


@pytest.mark.parametrize("busy", ["rows", "work"])
async def test_a_busy_share_leaves_connections_for_all_others(database_dsn: str, busy: Share) -> None:
    database = Database(pool_size=8, timeout_seconds=0.2)
    await database.open(database_dsn)
    try:
        async with AsyncExitStack() as held:
            with contextlib.suppress(TimeoutError):
                for _ in range(8):
                    await held.enter_async_context(database.acquire(busy))
            for share in ("door", "rows", "work", "reads"):
                if share != busy:
                    await answers(database, share)
    finally:
        database.close()


async def test_what_fails_or_is_cancelled_gives_its_connection_back(small: Database) -> None:
    for _ in range(5):
        with pytest.raises(asyncpg.PostgresError):
            async with small.acquire("reads") as connection:
                await connection.execute("SELECT 1 / 0")
        waiting = asyncio.create_task(hold(small))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await answers(small, "reads")


async def hold(database: Database) -> None:
    async with database.acquire("reads") as connection:
        await connection.execute("SELECT pg_sleep(60)")


async def test_a_read_is_not_kept_waiting_for_long(small: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_database, "READ_WAIT_SECONDS", 0.1)
    async with small.acquire("reads"), serving(small) as client:
        with pytest.raises(ReadsBusyError):
            await answers(small, "reads")
        response = await client.get("/api/v1/projections/things")
        await refused(response, 503, "too_many_reads")
        assert int(response.headers["Retry-After"]) > 0
    async with serving(small) as client:
        assert (await client.get("/api/v1/projections/things")).status == 200


async def test_the_server_itself_ends_a_long_read(small: Database) -> None:
    started = time.monotonic()
    async with small.acquire("reads") as connection:
        assert await connection.fetchval("SHOW statement_timeout") == f"{READ_SECONDS:g}s"
        with pytest.raises(asyncpg.QueryCanceledError):
            await connection.execute("SELECT pg_sleep(60)", timeout=60)
    assert time.monotonic() - started < READ_SECONDS + 2
    async with small.acquire("rows") as connection:
        assert await connection.fetchval("SHOW statement_timeout") == "0"


async def test_a_page_that_takes_too_long_is_told_so(
    small: Database, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with serving(small) as client, connection.transaction():
        await connection.execute("LOCK TABLE projections")
        await refused(await client.get("/api/v1/projections/things?sort=color"), 503, "query_too_long")


def test_every_view_says_which_share_it_uses() -> None:
    for path in (ROOT / "web").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "acquire"
                and "database" in ast.unparse(node.func.value)
            ):
                assert node.args, f"{path}: acquire() of a view without a share takes a projector's connection"
