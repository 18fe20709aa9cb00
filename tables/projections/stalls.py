"""Which partitions have events that a projection could apply, and which projections are stalled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from tables.database import AnyConnection
from tables.projections.positions import positions
from tables.projections.undelivered import behind


async def waiting(
    connection: AnyConnection, projections: Sequence[str], partitions: Collection[int]
) -> Mapping[str, Mapping[int, int]]:
    """By projection, the progress in each of the partitions that has a published event to apply.

    Parked events count as applied.
    """
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for one in await behind(connection, projections, partitions):
        found[one.projection][one.partition] = one.position
    return found


class Stall(msgspec.Struct, frozen=True):
    """A projection that has events to apply but has applied none for too long, at least since `since`."""

    projection: str
    position: int
    lag_events: int
    since: datetime


async def stalls(connection: AnyConnection, projections: Sequence[str], *, longer_than_seconds: float) -> list[Stall]:
    """Those of the projections that are stalled, in any worker, for longer than `longer_than_seconds`."""
    now = datetime.now(UTC)
    return [
        Stall(one.projection, one.position, one.lag_events, now - timedelta(seconds=one.waits_seconds))
        for one in await positions(connection, projections)
        if one.waits_seconds > longer_than_seconds
    ]
