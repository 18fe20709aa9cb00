"""Indexes on the fields that projections declare as indexed: made without stopping writers, and dropped likewise.

An index is on `tables.pages.SORT_VALUE` and the key, of the rows of its projection alone. Its name has a digest of
its definition, so a definition that changes is another index. Beside it, under the same name, are statistics: those of
a partial index's expressions are not used by the planner.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from tables.database import AnyConnection
from tables.lock_keys import LockKey
from tables.projections.pages import SORT_VALUE, Kind

PREFIX = "projections_by_field_"
DIGEST_BYTES = 8
# As long as a build takes: it reads the whole table, and waits for transactions that were there before it.
BUILD_SECONDS = 6 * 3600.0

TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
UNLOCK = "SELECT pg_advisory_unlock($1)"
FIND = """
SELECT name.relname::text AS name, index.indisvalid AND index.indisready AS usable
FROM pg_index AS index JOIN pg_class AS name ON name.oid = index.indexrelid
WHERE index.indrelid = 'projections'::regclass AND starts_with(name.relname::text, $1)
UNION
SELECT stxname::text, false FROM pg_statistic_ext
WHERE stxrelid = 'projections'::regclass AND starts_with(stxname::text, $1)
  AND to_regclass(quote_ident(stxname::text)) IS NULL
"""
LITERALS = "SELECT quote_literal($1::text) AS projection, quote_literal($2::text) AS member"
# PostgreSQL quotes literals itself, because DDL takes no arguments; names are our own.
CREATE = """
CREATE INDEX CONCURRENTLY {name} ON projections (({sorted_by}), key) WHERE projection = {projection}
"""
CREATE_STATISTICS = "CREATE STATISTICS IF NOT EXISTS {name} ON ({sorted_by}) FROM projections"
DROP = "DROP INDEX CONCURRENTLY IF EXISTS {name}"
DROP_STATISTICS = "DROP STATISTICS IF EXISTS {name}"
ANALYZE = "ANALYZE projections"


class IndexedField(NamedTuple):
    """A field that a projection declares as indexed."""

    projection: str
    member: str
    kind: Kind

    @property
    def name(self) -> str:
        """The name of its index."""
        definition = "\0".join((self.projection, self.member, SORT_VALUE[self.kind], CREATE))
        return PREFIX + blake2b(definition.encode(), digest_size=DIGEST_BYTES).hexdigest()


class Changed(NamedTuple):
    """What was done, by the names of indexes."""

    created: list[IndexedField]
    dropped: list[str]


async def keep(connection: AnyConnection, fields: Iterable[IndexedField]) -> Changed | None:
    """Drop the field indexes that are not declared or were not finished, and create those that are missing.

    On a connection of its own, outside of a transaction; one worker at a time: None, and nothing done, while another
    one is at it. Waiting for the lock instead would hold a snapshot that the builder waits for. Raises
    asyncpg.ProgramLimitExceededError when a row does not fit into an index.
    """
    if not await connection.fetchval(TRY_LOCK, LockKey.FIELD_INDEXES):
        return None
    try:
        declared = {field.name: field for field in fields}
        found = {row["name"]: row["usable"] for row in await connection.fetch(FIND, PREFIX)}
        dropped = [name for name, usable in found.items() if name not in declared or not usable]
        for name in dropped:
            await _drop(connection, name)
        created = [field for name, field in declared.items() if name not in found or name in dropped]
        for field in created:
            await _create(connection, field)
        if created:
            await connection.execute(ANALYZE, timeout=BUILD_SECONDS)
    finally:
        if not connection.is_closed():
            await connection.execute(UNLOCK, LockKey.FIELD_INDEXES)
    return Changed(created, dropped)


async def _create(connection: AnyConnection, field: IndexedField) -> None:
    literals = await connection.fetchrow(LITERALS, field.projection, field.member)
    assert literals is not None
    sorted_by = SORT_VALUE[field.kind].format(member=literals["member"] + "::text")
    create = CREATE.format(name=field.name, sorted_by=sorted_by, projection=literals["projection"])
    try:
        await connection.execute(create, timeout=BUILD_SECONDS)
        await connection.execute(CREATE_STATISTICS.format(name=field.name, sorted_by=sorted_by), timeout=BUILD_SECONDS)
    except Exception:
        # What is half done costs every write, and finds nothing.
        if not connection.is_closed():
            await _drop(connection, field.name)
        raise


async def _drop(connection: AnyConnection, name: str) -> None:
    await connection.execute(DROP_STATISTICS.format(name=name), timeout=BUILD_SECONDS)
    await connection.execute(DROP.format(name=name), timeout=BUILD_SECONDS)
