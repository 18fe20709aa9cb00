"""Indexes on the fields that projections declare as indexed, created and dropped without blocking writers.

An index covers `tables.projections.pages.SORT_VALUE` and the key, for the rows of its projection only. Its name
contains a digest of its definition, so a changed definition is a new index. Extended statistics have the same name,
because the planner does not use the statistics of a partial index's expressions.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

from headrace.projection import Projection
from tables.database import AnyConnection
from tables.lock_keys import TRY_LOCK, UNLOCK, LockKey
from tables.projections.pages import SORT_VALUE, Kind, Member, expression, path_of

PREFIX = "projections_by_field_"
DIGEST_BYTES = 8
# A build may need this long: it scans the whole table and waits for all earlier transactions.
BUILD_SECONDS = 6 * 3600.0

FIND = """
SELECT name.relname::text AS name, index.indisvalid AND index.indisready AS usable
FROM pg_index AS index JOIN pg_class AS name ON name.oid = index.indexrelid
WHERE index.indrelid = 'projections'::regclass AND starts_with(name.relname::text, $1)
UNION
SELECT stxname::text, false FROM pg_statistic_ext
WHERE stxrelid = 'projections'::regclass AND starts_with(stxname::text, $1)
  AND to_regclass(quote_ident(stxname::text)) IS NULL
"""
LITERALS = """
SELECT quote_literal($1::text) AS projection,
       ARRAY(SELECT quote_literal(member) || '::text' FROM unnest($2::text[]) WITH ORDINALITY AS path (member, place)
             ORDER BY place) AS members
"""
# DDL accepts no parameters, so PostgreSQL quotes the literals; the names are generated here.
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
    member: Member
    kind: Kind

    @property
    def name(self) -> str:
        """The name of its index and of its statistics."""
        value = expression(SORT_VALUE[self.kind], ["{member}"])
        definition = "\0".join((self.projection, *path_of(self.member), value, CREATE))
        return PREFIX + blake2b(definition.encode(), digest_size=DIGEST_BYTES).hexdigest()


def declared_fields(projections: Iterable[Projection[Any]]) -> list[IndexedField]:
    """The fields that these projections declare as indexed."""
    return [
        IndexedField(projection.name, projection.members[name], field.kind)
        for projection in projections
        for name, field in projection.fields.items()
        if field.indexed
    ]


class Changed(NamedTuple):
    """The fields whose indexes were created, and the names of dropped indexes."""

    created: list[IndexedField]
    dropped: list[str]


async def missing(connection: AnyConnection, fields: Iterable[IndexedField]) -> list[IndexedField]:
    """Those of the fields that have no usable index, for a role that may not create it."""
    usable = {row["name"] for row in await connection.fetch(FIND, PREFIX) if row["usable"]}
    return [field for field in fields if field.name not in usable]


async def sync(connection: AnyConnection, fields: Iterable[IndexedField]) -> Changed | None:
    """Drop field indexes that are undeclared or unfinished, and create missing indexes.

    Needs a connection outside a transaction. Return None, with nothing done, while another worker does this: waiting
    for its lock would hold a snapshot that its build waits for. Raises asyncpg.ProgramLimitExceededError if a row does
    not fit into an index.
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
    literals = await connection.fetchrow(LITERALS, field.projection, path_of(field.member))
    assert literals is not None
    sorted_by = expression(SORT_VALUE[field.kind], literals["members"])
    create = CREATE.format(name=field.name, sorted_by=sorted_by, projection=literals["projection"])
    try:
        await connection.execute(create, timeout=BUILD_SECONDS)
        await connection.execute(CREATE_STATISTICS.format(name=field.name, sorted_by=sorted_by), timeout=BUILD_SECONDS)
    except Exception:
        # An unfinished index slows down every write and serves no query.
        if not connection.is_closed():
            await _drop(connection, field.name)
        raise


async def _drop(connection: AnyConnection, name: str) -> None:
    await connection.execute(DROP_STATISTICS.format(name=name), timeout=BUILD_SECONDS)
    await connection.execute(DROP.format(name=name), timeout=BUILD_SECONDS)
