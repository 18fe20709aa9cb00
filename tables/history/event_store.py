"""`event_store` as event handlers and the relay read it: events between two positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headrace.events.topic_record import PastEvent
from tables.bounded import MAX_READ_BYTES, bounded
from tables.database import AnyConnection

_READ = """
    SELECT position, partition, event_as_text(event) AS text FROM event_store
    WHERE position > $1 AND position < $2 AND {partitions}
    ORDER BY position LIMIT $4
"""
_COLUMNS = "position, partition, text"
READ = bounded(
    _READ.format(partitions="($3::integer IS NULL OR partition = $3)"),
    _COLUMNS,
    size="octet_length(text)",
    order="position",
    limit="$5",
)
LAST_POSITION = "SELECT last_position FROM relay_state"
READ_PARTITIONS = bounded(
    _READ.format(partitions="partition = ANY ($3::integer[])"),
    _COLUMNS,
    size="octet_length(text)",
    order="position",
    limit="$5",
)
STORED_UP_TO = "SELECT partition, last_position, previous_position FROM topic_partitions"


async def read(
    connection: AnyConnection,
    *,
    after: int,
    before: int,
    partition: int | None = None,
    at_most: int,
    seconds: float | None = None,
) -> list[PastEvent]:
    """At most `at_most` events strictly between two positions, in order; of one partition, or of all if it is None.

    Fewer if they exceed `MAX_READ_BYTES`, but at least one if there is any. `seconds` is the timeout; None for the
    connection's.
    """
    rows = await connection.fetch(READ, after, before, partition, at_most, MAX_READ_BYTES, timeout=seconds)
    return [PastEvent(*row) for row in rows]


async def last_position(connection: AnyConnection) -> int:
    """The position of the newest event; 0 if there is none."""
    position: int = await connection.fetchval(LAST_POSITION)
    return position


class StoredUpTo(NamedTuple):
    """The newest positions stored for a partition."""

    last: int
    """The position of its newest event."""
    previous: int
    """The same before the last relay round that had events of the partition."""


async def stored_up_to(connection: AnyConnection) -> dict[int, StoredUpTo]:
    """The newest positions of each partition that has events."""
    return {partition: StoredUpTo(*positions) for partition, *positions in await connection.fetch(STORED_UP_TO)}


async def read_partitions(
    connection: AnyConnection, partitions: Sequence[int], *, after: int, before: int, at_most: int
) -> list[PastEvent]:
    """At most `at_most` events of these partitions strictly between two positions, in order.

    Fewer if they exceed `MAX_READ_BYTES`, but at least one if there is any.
    """
    rows = await connection.fetch(READ_PARTITIONS, after, before, partitions, at_most, MAX_READ_BYTES)
    return [PastEvent(*row) for row in rows]
