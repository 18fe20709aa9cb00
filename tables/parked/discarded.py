"""`discarded`: parked events that a projection skips for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tables.database import AnyConnection

DISCARD = """
WITH given_up AS (
    DELETE FROM parked WHERE projection = $1 AND position = ANY ($2::bigint[])
    RETURNING position, key, key_is_known, error, parked_at
),
kept AS (
    INSERT INTO discarded (projection, position, key, key_is_known, error, parked_at, reason, discarded_by)
    SELECT $1, position, key, key_is_known, error, parked_at, $3, $4 FROM given_up
)
SELECT given_up.position, given_up.key, stored.event_type, stored.source, stored.id
FROM given_up LEFT JOIN event_store AS stored ON stored.position = given_up.position
ORDER BY given_up.position
"""


class Discarded(NamedTuple):
    """A discarded event; the last three fields are None if the event store does not have it."""

    position: int
    key: str
    event_type: str | None
    source: str | None
    id: str | None


async def discard(
    connection: AnyConnection, projection: str, positions: Sequence[int], *, reason: str, by: str
) -> list[Discarded]:
    """Move parked events to `discarded`, and return those that were parked."""
    return [Discarded(*row) for row in await connection.fetch(DISCARD, projection, positions, reason, by)]
