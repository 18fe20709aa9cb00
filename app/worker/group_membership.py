"""Whether this worker is in its consumer group, and with which partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.parts import OK, STANDBY, Condition

# A consumer without partitions checks again every 2 s: the topic may be too new for its broker.
SETTLING_SECONDS = 4.0

log = ActionLog(__name__)


class GroupMembership:
    """Follows the rebalances of the consumer group. A rebalance starts in one thread and ends in another."""

    def __init__(self, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = topic
        self._clock = clock
        self._joined_at: float | None = None
        self._partitions: frozenset[int] | None = None

    def leave(self) -> None:
        """A rebalance has started."""
        self._joined_at = None

    def join(self, partitions: Collection[int]) -> None:
        """A rebalance has ended, and these partitions are fetched."""
        chosen = frozenset(partitions)
        if chosen != self._partitions:
            self._log(sorted(chosen))
        self._partitions, self._joined_at = chosen, self._clock()

    def condition(self) -> Condition:
        """Whether the partitions are fetched; a worker without partitions stands by for others."""
        if self._joined_at is None:
            return Condition("starting", "joins its consumer group")
        if self._partitions:
            return OK
        if self._clock() - self._joined_at < SETTLING_SECONDS:
            return Condition("starting", "has no partitions yet")
        return STANDBY

    def _log(self, partitions: list[int]) -> None:
        named = ", ".join(map(str, partitions))
        if partitions:
            text = "The event handler has partitions {partitions} of topic {topic}"
            log.info(LogAction.PARTITIONS_ASSIGNED, text, topic=self._topic, partitions=named)
        else:
            text = "The event handler has no partitions of topic {topic}; it stands by"
            log.info(LogAction.PARTITIONS_ASSIGNED, text, topic=self._topic)
