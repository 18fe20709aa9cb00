"""When a worker starts, makes the indexes that projections declare, and drops those that are not declared any more.

Guarantee: writers and readers go on meanwhile; until an index is there, queries by its field are only slower.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import asyncpg

from agents.background import Background
from headrace.projection import Projection
from tables import database
from tables.database import Database
from tables.projections import field_indexes
from tables.projections.field_indexes import IndexedField

TIMEOUT_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 5.0


class FieldIndexes(Background):
    """Works once; when another worker is at it, looks again until that one is done. Stops in the middle of a build."""

    def __init__(self, source: Database, projections: Sequence[Projection[Any]]) -> None:
        super().__init__()
        self._source = source
        self._fields = [
            IndexedField(projection.name, name, field.kind)
            for projection in projections
            for name, field in projection.fields.items()
            if field.indexed
        ]
        self._stop = asyncio.Event()

    def wake(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        work = asyncio.create_task(self._keep())
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

    async def _keep(self) -> None:
        connection = await database.connect(self._source.dsn, timeout_seconds=TIMEOUT_SECONDS)
        try:
            while (changed := await field_indexes.keep(connection, self._fields)) is None:
                await self.sleep(LOOK_AGAIN_SECONDS)
            for field in changed.created:
                self.log.info("Made the index on %s of projection %s.", field.member, field.projection)
            for name in changed.dropped:
                self.log.info("Dropped the index %s, which was not finished or is not declared any more.", name)
        except asyncpg.ProgramLimitExceededError as error:
            self.log.error("A declared index cannot be made: %s. Queries by its field stay slow.", error)  # noqa: TRY400
        finally:
            database.drop(connection)
