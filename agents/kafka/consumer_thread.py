"""Supervises the Kafka consumer in Faust's consumer thread.

Guarantee: a consumer-group error never stops the worker, because ingestion does not need Kafka; consumption resumes
when the error clears. If the consumer itself has ended, the worker stops: it would run without applying anything.

After an error that it does not retry, aiokafka's consumer pauses until its `getmany` is called, which Faust never does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP
from mode import Service

from agents.kafka.refused_access import with_advice
from agents.kafka.stopping import LEAVE_TIMEOUT_SECONDS, consumer_stopped
from headrace.errors import HeadraceError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog

CHECK_SECONDS = 1.0
# An uncommitted fetch is redelivered and skipped. A longer commit could reach a topic that was recreated meanwhile.
COMMIT_SECONDS = 5.0

log = ActionLog(__name__)


class ConsumerEndedError(HeadraceError):
    """The Kafka consumer ended unexpectedly."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Checks aiokafka's consumer for errors once a second, logs them and makes it rejoin its group."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.throttled = ThrottledLog(log)

    def _create_worker_consumer(self, transport: Any) -> Any:
        # Asked now: the password of the embedded Kafka is made by its first start.
        conf = self.consumer.app.conf
        conf.broker_credentials = transport.kafka.credentials()
        return super()._create_worker_consumer(transport)

    async def on_thread_stop(self) -> None:
        """Leave the group, for a limited time."""
        consumer, self._consumer = self._consumer, None
        await super().on_thread_stop()
        if consumer is not None:
            await consumer_stopped(consumer, within_seconds=LEAVE_TIMEOUT_SECONDS)

    @Service.task
    async def _watch_consumer(self) -> None:
        while not self.should_stop:
            await self.sleep(CHECK_SECONDS)
            if self._consumer is None or self.should_stop:
                continue
            try:
                error = take_error(self._consumer)
            except ConsumerEndedError as ended:
                # On the worker's own loop, because the loop of this thread is about to close.
                asyncio.run_coroutine_threadsafe(self.consumer.crash(ended), self.parent_loop)
                return
            if error is not None:
                text = "Cannot join the consumer group; will retry: {error}"
                self.throttled.warning(LogAction.KAFKA_GROUP_FAILED, text, error=with_advice(error))

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets; return False on failure, where Faust's own method would stop the worker."""
        assigned = self.assignment()
        chosen = {
            driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(at, "") for tp, at in offsets.items() if tp in assigned
        }
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._ensure_consumer().commit(chosen)
        except (KafkaError, TimeoutError) as error:
            text = "Offset commit failed; will retry: {error}"
            self.throttled.warning(LogAction.KAFKA_COMMIT_FAILED, text, error=with_advice(error))
            return False
        return True


def take_error(consumer: Any) -> KafkaError | None:
    """Return the error that has paused an aiokafka consumer, if any, and make the consumer rejoin its group.

    Raises ConsumerEndedError if one of its background tasks has ended.
    """
    coordinator = consumer._coordinator
    for task in (coordinator._coordination_task, consumer._fetcher._fetch_task):
        if task.done():
            reason = None if task.cancelled() else task.exception()
            raise ConsumerEndedError(
                f"The Kafka consumer ended unexpectedly: {reason!r}. This worker stops; restart it."
            )
    try:
        coordinator.check_errors()
    except KafkaError as error:
        # This also restarts the coordinator tasks that ended with the error.
        coordinator.request_rejoin()
        return error
    return None
