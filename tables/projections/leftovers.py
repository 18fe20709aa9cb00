"""What the database has of projections that no longer exist in the code: they were removed or renamed.

Rows, parked and discarded events, and progress of such a projection are found cheaply, however many there are, and are
deleted in small transactions, so that nobody waits for them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from tables.database import AnyConnection

# Skips from name to name along the primary key, which begins with it in each of these tables.
_NAMES_OF = """
(WITH RECURSIVE found AS (
    (SELECT projection FROM {table} ORDER BY projection LIMIT 1)
    UNION ALL
    SELECT (SELECT projection FROM {table} WHERE projection > found.projection ORDER BY projection LIMIT 1)
    FROM found WHERE found.projection IS NOT NULL
)
SELECT projection FROM found WHERE projection IS NOT NULL AND projection <> ALL ($1::text[]))
"""
TABLES = ("projections", "progress", "parked", "discarded", "unparked", "forgetting")
NAMES = " UNION ".join(_NAMES_OF.format(table=table) for table in TABLES) + " ORDER BY projection"
MOST_COUNTED = 100_000
_COUNT_IN = "(SELECT count(*) FROM (SELECT FROM {table} WHERE projection = $1 LIMIT $2) AS counted)"
COUNTS = "SELECT " + ", ".join(_COUNT_IN.format(table=table) for table in ("projections", "parked", "discarded"))

IS_BEGUN = "SELECT EXISTS (SELECT FROM forgetting WHERE projection = $1)"
BEGIN = "INSERT INTO forgetting (projection) VALUES ($1) ON CONFLICT DO NOTHING"
END = "DELETE FROM forgetting WHERE projection = $1"
# A writer that was running may insert a row of progress after it was deleted; it is deleted once more at the end.
DELETE_PROGRESS = "WITH gone AS (DELETE FROM progress WHERE projection = $1 RETURNING 1) SELECT count(*) FROM gone"
# Each begins where the last one ended: entries of deleted rows are not read again and again.
_DELETE = """
WITH gone AS (
    DELETE FROM {table} WHERE projection = $1 AND {column} = ANY (ARRAY(
        SELECT {column} FROM {table} WHERE projection = $1 AND {column} >= $2 ORDER BY {column} LIMIT $3
    ))
    RETURNING {column}
)
SELECT count(*) AS deleted, max({column}) AS last FROM gone
"""
DELETE_ROWS = _DELETE.format(table="projections", column="key")
DELETE_PARKED = _DELETE.format(table="parked", column="position")
DELETE_DISCARDED = _DELETE.format(table="discarded", column="position")
DELETE_UNPARKED = _DELETE.format(table="unparked", column="number")
ROWS_AT_ONCE = 1_000


class Leftover(NamedTuple):
    """What is left of a projection; counts end at `MOST_COUNTED`."""

    projection: str
    rows: int
    parked: int
    discarded: int

    def __str__(self) -> str:
        counts = (_counted(self.rows, "row"), _counted(self.parked, "parked event"))
        return f"{self.projection} ({', '.join(counts)}, {_counted(self.discarded, 'discarded event')})"


class Forgotten(NamedTuple):
    """How much was deleted."""

    projection: str
    rows: int
    parked: int
    discarded: int
    partitions: int
    """Partitions whose progress was deleted."""


async def leftovers(connection: AnyConnection, known: Collection[str]) -> list[Leftover]:
    """What is left of projections that are not among the known, by name."""
    names = [row[0] for row in await connection.fetch(NAMES, list(known))]
    return [await leftover(connection, name) for name in names]


async def leftover(connection: AnyConnection, projection: str) -> Leftover:
    """What there is of a projection."""
    counts = await connection.fetchrow(COUNTS, projection, MOST_COUNTED)
    assert counts is not None
    return Leftover(projection, *counts)


async def is_begun(connection: AnyConnection, projection: str) -> bool:
    """Whether `forget` began to remove this projection, and has not finished."""
    begun: bool = await connection.fetchval(IS_BEGUN, projection)
    return begun


async def forget(connection: AnyConnection, projection: str, *, rows_at_once: int = ROWS_AT_ONCE) -> Forgotten:
    """Delete all there is of a projection, in many transactions; if it is interrupted, call it again.

    Needs a connection outside a transaction. Meanwhile no event handler can start the projection.
    """
    await connection.execute(BEGIN, projection)
    total = Forgotten(projection, 0, 0, 0, 0)
    while any((deleted := await _pass(connection, projection, rows_at_once))[1:]):
        total = Forgotten(projection, *(one + more for one, more in zip(total[1:], deleted[1:], strict=True)))
    await connection.execute(END, projection)
    return total


async def _pass(connection: AnyConnection, projection: str, rows_at_once: int) -> Forgotten:
    partitions = await connection.fetchval(DELETE_PROGRESS, projection)
    rows = await _delete(connection, DELETE_ROWS, projection, "", rows_at_once)
    # Each event that leaves `parked` is recorded in `unparked`.
    parked = await _delete(connection, DELETE_PARKED, projection, 0, rows_at_once)
    discarded = await _delete(connection, DELETE_DISCARDED, projection, 0, rows_at_once)
    await _delete(connection, DELETE_UNPARKED, projection, 0, rows_at_once)
    return Forgotten(projection, rows, parked, discarded, partitions)


async def _delete(
    connection: AnyConnection, statement: str, projection: str, first: str | int, rows_at_once: int
) -> int:
    total = 0
    while True:
        found = await connection.fetchrow(statement, projection, first, rows_at_once)
        assert found is not None
        if not found["deleted"]:
            return total
        total, first = total + found["deleted"], found["last"]


def _counted(number: int, thing: str) -> str:
    more = " or more" if number == MOST_COUNTED else ""
    return f"{number}{more} {thing}{'' if number == 1 else 's'}"
