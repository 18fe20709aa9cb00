"""Holds Faust's consumer back until the broker answers and the topic is there.

A plain Faust worker exits when the broker is away at its start, and the door would go with it.
"""

from __future__ import annotations

import logging

from aiokafka.errors import KafkaError
from mode import Service

from agents.kafka.topic import ensure_topic
from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import backoff_seconds

log = logging.getLogger(__name__)


class BrokerGate(Service):
    """Its start ends when Kafka is ready for a consumer."""

    def __init__(self, bootstrap_servers: str, topic: str, *, partitions_if_new: int) -> None:
        super().__init__()
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._partitions_if_new = partitions_if_new

    async def on_start(self) -> None:
        throttled = ThrottledLog(log)
        for wait in backoff_seconds(most=2.0):
            if self.should_stop:
                return
            try:
                await self.look()
            except (KafkaError, OSError, TimeoutError) as error:
                throttled.warning("The event handler waits for Kafka at %s: %r", self._bootstrap_servers, error)
                await self.sleep(wait)
            else:
                return

    async def look(self) -> None:
        """Return when the broker answers and has the topic. Raises KafkaError, OSError or TimeoutError when not."""
        await ensure_topic(self._bootstrap_servers, self._topic, partitions=self._partitions_if_new)
