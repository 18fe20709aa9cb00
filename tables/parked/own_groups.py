"""Groups of parked events that a caller may touch: those of which it may touch every event.

An event is applied only after those before it in its group, so a group is retried and discarded as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.access.grant import Grant
from headrace.folding.parked_groups import Group
from tables.allowed import Argument, Arguments, Columns, conditions
from tables.database import AnyConnection

COLUMNS = Columns("stored.source", "stored.subject", "stored.event_type")
# Beside a row of `parked` named p. An event that the store lacks is nobody's.
NO_OTHERS = """
  AND NOT EXISTS (
      SELECT FROM parked AS one LEFT JOIN event_store AS stored ON stored.position = one.position
      WHERE one.projection = p.projection AND one.key_is_known = p.key_is_known AND one.key = p.key
        AND hashtextextended(one.key, 0) = hashtextextended(p.key, 0) AND ({own}) IS NOT TRUE
  )"""
IS_OWN = """
SELECT NOT EXISTS (
    SELECT FROM parked LEFT JOIN event_store AS stored ON stored.position = parked.position
    WHERE parked.projection = $1 AND hashtextextended(parked.key, 0) = hashtextextended($2::text, 0)
      AND parked.key = $2 AND parked.key_is_known = $3 AND ({own}) IS NOT TRUE
)
"""
ARE_OWN = """
SELECT NOT EXISTS (
    SELECT FROM unnest($1::bigint[]) AS asked (position) LEFT JOIN event_store AS stored USING (position)
    WHERE ({own}) IS NOT TRUE
)
"""


def no_others(grant: Grant | None, argument: Argument) -> str:
    """The condition of a statement on `parked` named p that the caller may touch the group; empty for None."""
    return "" if grant is None else NO_OTHERS.format(own=_own(grant, argument))


async def is_own(connection: AnyConnection, projection: str, group: Group, grant: Grant) -> bool:
    """Whether the caller may touch every event that is parked in the group."""
    arguments = Arguments(before=3)
    statement = IS_OWN.format(own=_own(grant, arguments.add))
    found: bool = await connection.fetchval(statement, projection, *group, *arguments)
    return found


async def are_own(connection: AnyConnection, positions: Sequence[int], grant: Grant) -> bool:
    """Whether the caller may touch every event at these positions."""
    arguments = Arguments(before=1)
    statement = ARE_OWN.format(own=_own(grant, arguments.add))
    found: bool = await connection.fetchval(statement, positions, *arguments)
    return found


def _own(grant: Grant, argument: Argument) -> str:
    return " AND ".join(conditions(grant, COLUMNS, argument)) or "stored.position IS NOT NULL"
