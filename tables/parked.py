"""`parked`: events that a projection could not apply, and those of the same key that wait behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tables.database import AnyConnection

PARK = """
INSERT INTO parked (projection, position, key, error)
SELECT $1, p.position, p.key, p.error
FROM unnest($2::bigint[], $3::text[], $4::text[]) AS p (position, key, error)
ON CONFLICT DO NOTHING
"""
KEYS = "SELECT DISTINCT key FROM parked WHERE projection = $1 AND key = ANY ($2::text[])"
HAS_PARKED = "SELECT EXISTS (SELECT FROM parked WHERE projection = $1)"


class ParkedEvent(NamedTuple):
    """An event that waits, the key that it belongs to ("" where that could not be told), and why it waits."""

    position: int
    key: str
    error: str


async def park(connection: AnyConnection, projection: str, events: Sequence[ParkedEvent]) -> None:
    """Let events wait; in the transaction that moves the progress past them."""
    positions, keys, errors = zip(*events, strict=True)
    await connection.execute(PARK, projection, positions, keys, errors)


async def parked_keys(connection: AnyConnection, projection: str, keys: Sequence[str]) -> set[str]:
    """Those of the keys that have an event parked."""
    return {row["key"] for row in await connection.fetch(KEYS, projection, keys)}


async def has_parked(connection: AnyConnection, projection: str) -> bool:
    """Whether the projection has any event parked."""
    found: bool = await connection.fetchval(HAS_PARKED, projection)
    return found
