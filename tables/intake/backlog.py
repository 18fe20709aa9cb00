"""The size of the outbox and the rate at which it drains, estimated without counting its rows."""

from __future__ import annotations

import math
from typing import NamedTuple

from tables.database import AnyConnection

# The outbox may span a million values of seq, with gaps (duplicates consume values too). A short outbox is counted; a
# long one is sampled: 20 windows of 50 values, one at a random place in each twentieth.
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
# A plan that was cached for a short outbox must not scan a long one sequentially.
BY_INDEX = "SET LOCAL enable_seqscan = off"

NEWEST_WEIGHT = 0.3
MAX_RETRY_AFTER_SECONDS = 300
STALLED_RETRY_AFTER_SECONDS = 30


class Depth(NamedTuple):
    """An estimate of the contents of the outbox."""

    events: int
    size_bytes: int
    oldest_seconds: float
    """The age of the oldest event since it was accepted; 0 if the outbox is empty."""
    last_position: int
    """The last assigned position, which shows the relay's progress, whichever worker it is in."""


class Backlog:
    """Compares the outbox with its limits. Each worker does so for itself; they share one outbox."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._measured_at = 0.0
        self.depth: Depth | None = None
        """The last measurement; None if PostgreSQL did not answer."""
        self.drained_per_second = 0.0
        """Events per second that the relay stored recently (a moving average)."""
        self.retry_after_seconds: int | None = None
        """None while events are accepted; else the seconds until the outbox should be below its limits again."""

    def note(self, depth: Depth, *, at: float) -> None:
        """Record a measurement; `at` is monotonic time in seconds."""
        if self.depth is not None and at > self._measured_at:
            rate = (depth.last_position - self.depth.last_position) / (at - self._measured_at)
            self.drained_per_second += (rate - self.drained_per_second) * NEWEST_WEIGHT
        self.depth, self._measured_at = depth, at
        self.retry_after_seconds = self._wait_seconds(depth)

    def forget(self) -> None:
        """Mark the depth as unknown and accept events again: PostgreSQL is unavailable and refuses them itself."""
        self.depth = self.retry_after_seconds = None

    def _wait_seconds(self, depth: Depth) -> int | None:
        excess = max(depth.events / self._max_events, depth.size_bytes / self._max_bytes)
        if excess < 1:
            return None
        if self.drained_per_second < 1:
            return STALLED_RETRY_AFTER_SECONDS
        too_many = depth.events * (1 - 1 / excess)
        return min(max(math.ceil(too_many / self.drained_per_second), 1), MAX_RETRY_AFTER_SECONDS)


async def measure(connection: AnyConnection) -> Depth:
    """Estimate the current contents of the outbox."""
    async with connection.transaction(readonly=True):
        await connection.execute(BY_INDEX)
        row = await connection.fetchrow(MEASURE)
    assert row is not None  # it has no WHERE
    return Depth(row["events"] or 0, row["bytes"] or 0, row["age"] or 0.0, row["last_position"])
