"""Which events wait behind a parked one: those of its key, or of its partition key if the key cannot be computed."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.folding.parked_groups import Group


class BlockedGroups:
    """The position after which the events of each group wait.

    The group of a partition key takes precedence over that of a row's key. So every event in the group of a key comes
    before every event in the group of its partition key; within a group, apply events in order of position.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, int] = {}
        self._by_partition_key: dict[str, int] = {}

    def block(self, groups: Iterable[Group], position: int) -> None:
        """Block the events of these groups after the position."""
        for group in groups:
            blocked = self._by_key if group.key_is_known else self._by_partition_key
            blocked[group.key] = min(position, blocked.get(group.key, position))

    def group_of(self, position: int, key: str | None, partition_key: str) -> Group | None:
        """The group in which an event must wait, or None. `key` is None if it cannot be computed."""
        if self._by_partition_key and self._by_partition_key.get(partition_key, position) < position:
            return Group(partition_key, key_is_known=False)
        if key is not None and self._by_key and self._by_key.get(key, position) < position:
            return Group(key)
        return None
