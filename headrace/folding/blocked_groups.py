"""Which events wait behind a parked one: those of its key, or of its partition key if the key cannot be computed."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.folding.parked_groups import Group


class BlockedGroups:
    """From which position on the events of a group wait.

    The group of a partition key goes before that of a row's key: so all that waits in the group of a key comes before
    all that waits in the group of its partition key, and within a group the order of position is the order to go in.
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
        """The group in which an event waits; None: it need not. `key` is None where it cannot be told."""
        if self._by_partition_key and self._by_partition_key.get(partition_key, position) < position:
            return Group(partition_key, key_is_known=False)
        if key is not None and self._by_key and self._by_key.get(key, position) < position:
            return Group(key)
        return None
