"""What of a batch must wait, and in which group."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.folding import Chosen, Unreadable, reason
from headrace.folding.parked_groups import Group
from headrace.folding.rows import ParkedEvent
from tables.database import AnyConnection
from tables.parked import parked


async def blocked_before(
    connection: AnyConnection, projection: str, chosen: Sequence[Chosen], unreadable: Sequence[Unreadable]
) -> BlockedGroups:
    """What blocked these events, before any handler was tried: parked events, and the unreadable ones among them."""
    keys = {one.key for one in chosen} | {one.key for one in unreadable if one.key is not None}
    partition_keys = {one.partition_key for one in chosen} | {one.partition_key for one in unreadable}
    groups = [*(Group(key) for key in keys), *(Group(key, key_is_known=False) for key in partition_keys)]
    blocked = BlockedGroups()
    blocked.block(await parked.blocked(connection, projection, groups), 0)
    for one in unreadable:
        blocked.block([one.group], one.position)
    return blocked


def unfit(event: Chosen, error: Exception) -> Unreadable:
    """An event whose result PostgreSQL cannot hold, or whose row cannot be read, as one that is to be parked."""
    return Unreadable(event.event.position, event.key, event.partition_key, reason(error))


def parked_as(event: Unreadable, blocked: BlockedGroups, attempts: int) -> ParkedEvent:
    """An unreadable event as it is parked: where an earlier one blocked it, in that one's group, and not as tried."""
    behind = blocked.group_of(event.position, event.key, event.partition_key)
    return ParkedEvent(event.position, behind or event.group, event.error, 0 if behind else attempts)
