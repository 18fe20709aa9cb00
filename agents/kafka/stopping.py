"""Ends clients of Kafka within a limited time, because aiokafka may wait for a broker without end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

CLOSE_TIMEOUT_SECONDS = 1.0
LEAVE_TIMEOUT_SECONDS = 2.0
"""To leave a consumer group."""


async def stopped(stopping: Coroutine[Any, Any, None]) -> None:
    """Await the end of a client, for a limited time; errors of the broker are suppressed."""
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await stopping


async def consumer_stopped(consumer: AIOKafkaConsumer, *, within_seconds: float = CLOSE_TIMEOUT_SECONDS) -> None:
    """Stop a consumer, for a limited time; errors of the broker are suppressed. Its connections are closed anyway.

    In a rebalance the broker answers a member when all others have joined again, and aiokafka's `stop` waits for that
    answer: a member that hangs delays it by its session timeout. A consumer that does not wait leaves the group when
    its own session ends.
    """
    try:
        async with asyncio.timeout(within_seconds):
            await consumer.stop()
    except (KafkaError, OSError, TimeoutError):
        await stopped(consumer._client.close())
