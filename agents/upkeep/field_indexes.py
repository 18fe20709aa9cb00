"""Creates the indexes that projections declare when a worker starts, and drops those no longer declared.

Guarantee: readers and writers are not blocked. Until an index exists, queries by its field are only slower. Only the
owner of the tables may create an index. A worker with another role names those that are missing: the command `migrate`
creates them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import asyncpg

from agents.background import Background
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.projection import Projection
from tables import database
from tables.database import Database
from tables.projections import field_indexes
from tables.projections.pages import path_of
from tables.rights import may_alter

TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 5.0

log = ActionLog(__name__)


class FieldIndexes(Background):
    """Runs once, or retries until another worker has finished. A stop cancels a build; the next start repeats it."""

    def __init__(self, source: Database, projections: Sequence[Projection[Any]]) -> None:
        super().__init__()
        self._source = source
        self._fields = field_indexes.declared_fields(projections)
        self._stop = asyncio.Event()

    def wake(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        work = asyncio.create_task(self._sync())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                await stop
        finally:
            for task in (work, stop):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _name_missing(self, connection: database.Connection) -> None:
        for field in await field_indexes.missing(connection, self._fields):
            text = (
                "There is no index on {field} of projection {projection}, and the worker's role may not create it: run "
                "faust -A app migrate as the owner of the tables"
            )
            log.warning(
                LogAction.INDEX_MISSING, text, field=".".join(path_of(field.member)), projection=field.projection
            )

    async def _sync(self) -> None:
        connection = await database.connect(self._source.dsn, timeout_seconds=TIMEOUT_SECONDS)
        try:
            if not await may_alter(connection, "projections"):
                await self._name_missing(connection)
                return
            while (changed := await field_indexes.sync(connection, self._fields)) is None:
                await self.sleep(RETRY_SECONDS)
            for field in changed.created:
                text = "Created the index on {field} of projection {projection}"
                log.info(
                    LogAction.INDEX_CREATED, text, field=".".join(path_of(field.member)), projection=field.projection
                )
            for name in changed.dropped:
                text = "Dropped index {index}: it was not finished, or is no longer declared"
                log.info(LogAction.INDEX_DROPPED, text, index=name)
        except asyncpg.ProgramLimitExceededError as error:
            text = "A declared index cannot be created: {error}. Queries by its field stay slow"
            log.error(LogAction.INDEX_FAILED, text, error=str(error))  # noqa: TRY400 - it says it all
        finally:
            database.drop(connection)
