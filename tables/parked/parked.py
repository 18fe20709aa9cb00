"""`parked`: events that a projection could not apply, and the events that wait behind them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from headrace.events.topic_record import PastEvent
from headrace.folding.parked_groups import Group
from headrace.folding.rows import ParkedEvent
from tables.bounded import bounded
from tables.database import AnyConnection

PARK = """
INSERT INTO parked (projection, position, key, key_is_known, error, attempts, traceback, tried_at)
SELECT $1, p.position, p.key, p.key_is_known, p.error, p.attempts, p.traceback,
       CASE WHEN p.attempts > 0 THEN clock_timestamp() END
FROM unnest($2::bigint[], $3::text[], $4::boolean[], $5::text[], $6::integer[], $7::text[])
    AS p (position, key, key_is_known, error, attempts, traceback)
ON CONFLICT DO NOTHING
"""
# LATERAL with LIMIT: one index lookup for each group, however many events wait in it.
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
MAX_BYTES = 4 * 1024 * 1024
"""Of the events of a group that are read together, unless it is a single event."""
_FIRST = """
    SELECT parked.position, stored.partition, event_as_text(stored.event) AS text
    FROM parked JOIN event_store AS stored ON stored.position = parked.position
    WHERE parked.projection = $1 AND hashtextextended(parked.key, 0) = hashtextextended($2::text, 0)
      AND parked.key = $2 AND parked.key_is_known = $3
    ORDER BY parked.position LIMIT $4
    FOR UPDATE OF parked
"""
FIRST = bounded(_FIRST, "position, partition, text, found", size="octet_length(text)", order="position", limit="$5")
FIRST_POSITIONS = """
SELECT position FROM parked
WHERE projection = $1 AND hashtextextended(key, 0) = hashtextextended($2::text, 0) AND key = $2 AND key_is_known = $3
ORDER BY position LIMIT $4
FOR UPDATE
"""
_IN_GROUP = """
SELECT {of_them} FROM parked
WHERE projection = $1 AND hashtextextended(key, 0) = hashtextextended($2::text, 0) AND key = $2 AND key_is_known = $3
"""
IN_GROUP = _IN_GROUP.format(of_them="count(*)")
LAST_IN_GROUP = _IN_GROUP.format(of_them="coalesce(max(position), 0)")
GROUP_OF = "SELECT key, key_is_known FROM parked WHERE projection = $1 AND position = $2"
RELEASE = "DELETE FROM parked WHERE projection = $1 AND position = ANY ($2::bigint[])"
UPDATE = """
UPDATE parked
SET key = p.key, key_is_known = p.key_is_known, error = p.error, attempts = parked.attempts + p.attempts,
    traceback = p.traceback,
    tried_at = CASE WHEN p.attempts > 0 THEN clock_timestamp() ELSE tried_at END
FROM unnest($2::bigint[], $3::text[], $4::boolean[], $5::text[], $6::integer[], $7::text[])
    AS p (position, key, key_is_known, error, attempts, traceback)
WHERE parked.projection = $1 AND parked.position = p.position
"""
HAS_PARKED = "SELECT EXISTS (SELECT FROM parked WHERE projection = $1)"

COUNTS = "SELECT projection, count(*) AS events FROM parked GROUP BY projection"


async def park(connection: AnyConnection, projection: str, events: Sequence[ParkedEvent]) -> None:
    """Park events, in the transaction that moves the progress past them."""
    await connection.execute(PARK, projection, *_columns(events))


async def blocked(connection: AnyConnection, projection: str, groups: Collection[Group]) -> set[Group]:
    """Those of the groups that have parked events."""
    keys, known = [group.key for group in groups], [group.key_is_known for group in groups]
    return {Group(*row) for row in await connection.fetch(BLOCKED, projection, keys, known)}


async def has_parked(connection: AnyConnection, projection: str) -> bool:
    """Whether the projection has any parked events."""
    found: bool = await connection.fetchval(HAS_PARKED, projection)
    return found


async def counts(connection: AnyConnection) -> dict[str, int]:
    """The number of parked events by projection; projections without parked events are left out."""
    return {row["projection"]: row["events"] for row in await connection.fetch(COUNTS)}


class First(NamedTuple):
    """The first events of a group."""

    events: list[PastEvent]
    is_all: bool
    """Whether the group has no others."""


async def first(
    connection: AnyConnection, projection: str, group: Group, *, at_most: int, seconds: float | None = None
) -> First:
    """At most `at_most` events of a group, the first in order, locked until the transaction ends.

    Fewer if they exceed `MAX_BYTES`, but at least one if there is any. `seconds` is the timeout; None for the
    connection's.
    """
    rows = await connection.fetch(FIRST, projection, *group, at_most, MAX_BYTES, timeout=seconds)
    events = [PastEvent(row["position"], row["partition"], row["text"]) for row in rows]
    return First(events, is_all=not rows or (len(rows) == rows[0]["found"] < at_most))


async def first_positions(connection: AnyConnection, projection: str, group: Group, *, at_most: int) -> list[int]:
    """The positions of the first events of a group, locked until the transaction ends; the events are not read."""
    return [row["position"] for row in await connection.fetch(FIRST_POSITIONS, projection, *group, at_most)]


async def count(connection: AnyConnection, projection: str, group: Group) -> int:
    """The number of parked events in a group."""
    found: int = await connection.fetchval(IN_GROUP, projection, *group)
    return found


async def last(connection: AnyConnection, projection: str, group: Group) -> int:
    """The greatest position of the parked events of a group; 0 if there are none."""
    found: int = await connection.fetchval(LAST_IN_GROUP, projection, *group)
    return found


async def group_of(connection: AnyConnection, projection: str, position: int) -> Group | None:
    """The group in which an event is parked; None if it is not parked."""
    row = await connection.fetchrow(GROUP_OF, projection, position)
    return None if row is None else Group(*row)


async def release(connection: AnyConnection, projection: str, positions: Sequence[int]) -> None:
    """Remove events from `parked`, in the transaction that applies them."""
    await connection.execute(RELEASE, projection, positions)


async def update(connection: AnyConnection, projection: str, events: Sequence[ParkedEvent]) -> None:
    """Change the group and the error of parked events, and add their `attempts` to the earlier attempts."""
    await connection.execute(UPDATE, projection, *_columns(events))


def _columns(
    events: Sequence[ParkedEvent],
) -> tuple[list[int], list[str], list[bool], list[str], list[int], list[str | None]]:
    return (
        [event.position for event in events],
        [event.group.key for event in events],
        [event.group.key_is_known for event in events],
        [event.error for event in events],
        [event.attempts for event in events],
        [event.traceback for event in events],
    )
