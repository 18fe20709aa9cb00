"""Which events of a batch must wait behind parked events, and in which group."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.failures import place_of, reason
from headrace.folding.folding import Chosen, Unreadable
from headrace.folding.parked_groups import Group
from headrace.folding.rows import ParkedEvent
from tables.database import AnyConnection
from tables.parked import parked


async def blocked_before(
    connection: AnyConnection, projection: str, chosen: Sequence[Chosen], unreadable: Sequence[Unreadable]
) -> BlockedGroups:
    """The groups blocked before any handler runs, by events already parked and by the unreadable events."""
    keys = {one.key for one in chosen} | {one.key for one in unreadable if one.key is not None}
    partition_keys = {one.partition_key for one in chosen} | {one.partition_key for one in unreadable}
    groups = [*(Group(key) for key in keys), *(Group(key, key_is_known=False) for key in partition_keys)]
    blocked = BlockedGroups()
    blocked.block(await parked.blocked(connection, projection, groups), 0)
    for one in unreadable:
        blocked.block([one.group], one.position)
    return blocked


def unfit(event: Chosen, error: Exception) -> Unreadable:
    """Convert an event to park, because its result cannot be stored or its row cannot be read."""
    place = place_of(event.subscription.handler)
    return Unreadable(event.event.position, event.key, event.partition_key, reason(error), place)


def parked_as(event: Unreadable, blocked: BlockedGroups, attempts: int) -> ParkedEvent:
    """The parked form of an unreadable event: behind an earlier event in that event's group, with 0 attempts."""
    behind = blocked.group_of(event.position, event.key, event.partition_key)
    return ParkedEvent(event.position, behind or event.group, event.error, 0 if behind else attempts, event.traceback)
