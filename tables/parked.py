"""`parked`, as event handlers write it: events that a projection could not apply, and those behind them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tables.database import AnyConnection

PARK = """
INSERT INTO parked (projection, position, key, key_is_known, error, attempts, tried_at)
SELECT $1, p.position, p.key, p.key_is_known, p.error, p.attempts, CASE WHEN p.attempts > 0 THEN clock_timestamp() END
FROM unnest($2::bigint[], $3::text[], $4::boolean[], $5::text[], $6::integer[])
    AS p (position, key, key_is_known, error, attempts)
ON CONFLICT DO NOTHING
"""
# LATERAL with LIMIT: a look-up for each group, however many events wait in it.
BLOCKED = """
SELECT asked.key, asked.key_is_known
FROM unnest($2::text[], $3::boolean[]) AS asked (key, key_is_known)
CROSS JOIN LATERAL (
    SELECT FROM parked
    WHERE parked.projection = $1 AND hashtextextended(parked.key, 0) = hashtextextended(asked.key, 0)
      AND parked.key = asked.key AND parked.key_is_known = asked.key_is_known
    LIMIT 1
) AS found
"""
HAS_PARKED = "SELECT EXISTS (SELECT FROM parked WHERE projection = $1)"

COUNTS = "SELECT projection, count(*) AS events FROM parked GROUP BY projection"


class Group(NamedTuple):
    """Events that wait in one order: those of a row's key, or, where the first one's key cannot be told, those of a
    partition key."""

    key: str
    key_is_known: bool = True


class ParkedEvent(NamedTuple):
    """An event that waits, in which group and why, and how often it was tried (0: it only waits behind another)."""

    position: int
    group: Group
    error: str
    attempts: int


async def park(connection: AnyConnection, projection: str, events: Sequence[ParkedEvent]) -> None:
    """Let events wait; in the transaction that moves the progress past them."""
    await connection.execute(
        PARK,
        projection,
        [event.position for event in events],
        [event.group.key for event in events],
        [event.group.key_is_known for event in events],
        [event.error for event in events],
        [event.attempts for event in events],
    )


async def blocked(connection: AnyConnection, projection: str, groups: Collection[Group]) -> set[Group]:
    """Those of the groups that have an event parked."""
    keys, known = [group.key for group in groups], [group.key_is_known for group in groups]
    return {Group(*row) for row in await connection.fetch(BLOCKED, projection, keys, known)}


async def has_parked(connection: AnyConnection, projection: str) -> bool:
    """Whether the projection has any event parked."""
    found: bool = await connection.fetchval(HAS_PARKED, projection)
    return found


async def counts(connection: AnyConnection) -> dict[str, int]:
    """How many events are parked, by projection; those that have none are left out."""
    return {row["projection"]: row["events"] for row in await connection.fetch(COUNTS)}
