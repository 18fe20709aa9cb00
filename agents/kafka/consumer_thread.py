"""Faust's thread with Kafka's consumer, looked after.

At an error that no retry of its own helps against, aiokafka's consumer stands still until somebody asks it for records
in its own way, which Faust does not. Guarantee: no error of the consumer group ends the worker, whose door needs no
Kafka, or is waited at for longer than it lasts; but a consumer that has ended by itself, whose worker would go on
without applying anything, ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP
from mode import Service

from headrace.errors import HeadraceError
from headrace.process.throttled_log import ThrottledLog

LOOK_SECONDS = 1.0
# What is not committed is delivered again, and known. Longer, it would be committed to a topic that was made anew.
COMMIT_SECONDS = 5.0

log = logging.getLogger(__name__)


class ConsumerEndedError(HeadraceError):
    """Kafka's consumer has ended by itself."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Hears what aiokafka has to say, and lets it go on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.throttled = ThrottledLog(log)

    @Service.task
    async def _look_after_the_consumer(self) -> None:
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            if self._consumer is None or self.should_stop:
                continue
            try:
                error = take_error(self._consumer)
            except ConsumerEndedError as ended:
                # Told to the worker's own loop: this thread's is about to go.
                asyncio.run_coroutine_threadsafe(self.consumer.crash(ended), self.parent_loop)
                return
            if error is not None:
                self.throttled.warning("The event handler waits for its consumer group: %r", error)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; False when it does not work now. Faust would end the worker."""
        assigned = self.assignment()
        chosen = {
            driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(at, "") for tp, at in offsets.items() if tp in assigned
        }
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._ensure_consumer().commit(chosen)
        except (KafkaError, TimeoutError) as error:
            self.throttled.warning("What the event handler has read cannot be committed to Kafka now: %r", error)
            return False
        return True


def take_error(consumer: Any) -> KafkaError | None:
    """The error at which an aiokafka consumer stands still, if it does; it joins its group anew then.

    Raises ConsumerEndedError when it does nothing any more.
    """
    coordinator = consumer._coordinator
    for task in (coordinator._coordination_task, consumer._fetcher._fetch_task):
        if task.done():
            reason = None if task.cancelled() else task.exception()
            raise ConsumerEndedError(
                f"Kafka's consumer has ended by itself: {reason!r}. This worker ends; start it again."
            )
    try:
        coordinator.check_errors()
    except KafkaError as error:
        # Which also starts its tasks again that ended with the error.
        coordinator.request_rejoin()
        return error
    return None
