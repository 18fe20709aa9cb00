"""Delays the start of Faust's consumer until the broker answers and the topic exists.

A plain Faust worker exits if the broker is unavailable at start, which would also stop ingestion.
"""

from __future__ import annotations

from aiokafka.errors import KafkaError
from mode import Service

from agents.kafka.access import KafkaAccess
from agents.kafka.refused_access import with_advice
from agents.kafka.topic import ensure_topic
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from headrace.process.waiting import backoff_seconds

log = ActionLog(__name__)


class BrokerGate(Service):
    """A service whose start completes when Kafka is ready for a consumer."""

    def __init__(self, kafka: KafkaAccess, topic: str, *, partitions_if_new: int, max_event_bytes: int) -> None:
        super().__init__()
        self._kafka = kafka
        self._topic = topic
        self._partitions_if_new = partitions_if_new
        self._max_event_bytes = max_event_bytes

    async def on_start(self) -> None:
        throttled = ThrottledLog(log)
        for wait in backoff_seconds(most=2.0):
            if self.should_stop:
                return
            try:
                await self.check()
            except (KafkaError, OSError, TimeoutError) as error:
                throttled.warning(
                    LogAction.KAFKA_UNAVAILABLE,
                    "The event handler waits for Kafka at {broker}: {error}",
                    service="event_handler",
                    broker=self._kafka.bootstrap_servers,
                    error=with_advice(error),
                )
                await self.sleep(wait)
            else:
                return

    async def check(self) -> None:
        """Create the topic if necessary. Raises KafkaError, OSError or TimeoutError if the broker is unavailable."""
        await ensure_topic(
            self._kafka,
            self._topic,
            partitions=self._partitions_if_new,
            max_event_bytes=self._max_event_bytes,
        )
