"""How much waits in the outbox and how fast it goes, known without counting it."""

from __future__ import annotations

import math
from typing import NamedTuple

from tables.database import AnyConnection

# The numbers in use may be a million, and some of them missing (duplicates take numbers, too): a short outbox is
# counted, of a long one 20 windows of 50 numbers, each somewhere in its twentieth.
MEASURE = """
WITH ends AS MATERIALIZED (SELECT min(seq) AS first, max(seq) AS last, max(seq) - min(seq) + 1 AS numbers FROM outbox),
windows AS MATERIALIZED (
    SELECT first AS low, 1000 AS width FROM ends WHERE numbers <= 1000
    UNION ALL
    SELECT first + floor((place + random()) * ((numbers - 50) / 20.0))::bigint, 50
    FROM ends CROSS JOIN generate_series(0, 19) AS place WHERE numbers > 1000
),
sample AS MATERIALIZED (
    SELECT count(*) AS events, coalesce(sum(found.bytes), 0) AS bytes, (SELECT sum(width) FROM windows) AS numbers
    FROM windows CROSS JOIN LATERAL (
        SELECT pg_column_size(event) AS bytes FROM outbox WHERE seq >= low AND seq < low + width
    ) AS found
)
SELECT (sample.events * greatest(ends.numbers / sample.numbers, 1.0))::bigint AS events,
       (sample.bytes * greatest(ends.numbers / sample.numbers, 1.0))::bigint AS bytes,
       extract(epoch FROM clock_timestamp() - (SELECT received_at FROM outbox WHERE seq = ends.first))::float8 AS age,
       (SELECT last_position FROM relay_state) AS last_position
FROM ends CROSS JOIN sample
"""
# A plan that was made for a short outbox must not read a long one from end to end.
BY_INDEX = "SET LOCAL enable_seqscan = off"

NEWEST_WEIGHT = 0.3
MOST_RETRY_AFTER_SECONDS = 300
STANDSTILL_RETRY_AFTER_SECONDS = 30


class Depth(NamedTuple):
    """What waits in the outbox, about."""

    events: int
    size_bytes: int
    oldest_seconds: float
    """How long ago the oldest event was accepted; 0 when none waits."""
    last_position: int
    """The last position given out: what the relay has done, whichever worker it is in."""


class Backlog:
    """Compares what waits with the limits; several workers share one outbox, and each finds the same."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._looked_at = 0.0
        self.depth: Depth | None = None
        """The last measurement; None if PostgreSQL did not answer."""
        self.drained_a_second = 0.0
        """Events that the relay stores, lately."""
        self.retry_after_seconds: int | None = None
        """None while more is taken; else when the outbox should be below its limits again, at the rate it has now."""

    def note(self, depth: Depth, *, at: float) -> None:
        """Record a measurement; `at` is monotonic time in seconds."""
        if self.depth is not None and at > self._looked_at:
            rate = (depth.last_position - self.depth.last_position) / (at - self._looked_at)
            self.drained_a_second += (rate - self.drained_a_second) * NEWEST_WEIGHT
        self.depth, self._looked_at = depth, at
        self.retry_after_seconds = self._wait_seconds(depth)

    def forget(self) -> None:
        """Nothing is known; PostgreSQL itself refuses what it cannot take."""
        self.depth = self.retry_after_seconds = None

    def _wait_seconds(self, depth: Depth) -> int | None:
        beyond = max(depth.events / self._max_events, depth.size_bytes / self._max_bytes)
        if beyond < 1:
            return None
        if self.drained_a_second < 1:
            return STANDSTILL_RETRY_AFTER_SECONDS
        too_many = depth.events * (1 - 1 / beyond)
        return min(max(math.ceil(too_many / self.drained_a_second), 1), MOST_RETRY_AFTER_SECONDS)


async def measure(connection: AnyConnection) -> Depth:
    """What waits now."""
    async with connection.transaction(readonly=True):
        await connection.execute(BY_INDEX)
        row = await connection.fetchrow(MEASURE)
    assert row is not None  # it has no WHERE
    return Depth(row["events"] or 0, row["bytes"] or 0, row["age"] or 0.0, row["last_position"])
