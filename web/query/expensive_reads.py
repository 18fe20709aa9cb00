"""Reads whose cost grows with the tables: few at a time, each within a time that the server, too, keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tables.database import READ_SECONDS, Database, PooledConnection
from web.server.problems import Problem


@asynccontextmanager
async def reading(
    database: Database, *, ask_for_less: str, seconds: float = READ_SECONDS
) -> AsyncIterator[PooledConnection]:
    """A connection for the statements of one answer, which together may take `seconds`.

    Raises Problem (503, `query_too_long`) with the advice `ask_for_less`, ReadsBusyError when other reads keep all
    connections busy, and the errors of a database that is away.
    """
    async with database.acquire("reads") as connection:
        time = asyncio.timeout(seconds)
        try:
            async with time:
                yield connection
        except (TimeoutError, asyncpg.QueryCanceledError) as error:
            if isinstance(error, TimeoutError) and not time.expired():
                raise
            detail = f"It needs more than {seconds:g} s. {ask_for_less}"
            raise Problem(503, "query_too_long", "The query takes too long", detail) from None
