"""The topic that carries the events, created if the broker does not have it."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

REQUEST_TIMEOUT_MS = 10_000
MAX_REPLICAS = 3


async def ensure_topic(bootstrap_servers: str, topic: str, *, partitions: int) -> int:
    """Create the topic if it does not exist, and return its number of partitions.

    An existing topic is not changed. Raises KafkaError or OSError if the broker is unavailable.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        found = await _partitions(admin, topic)
        if found:
            return found
        # No retention limit: the broker's default of seven days would delete events that a new projection needs.
        replicas = min(MAX_REPLICAS, len((await admin.describe_cluster())["brokers"]))
        new = NewTopic(topic, partitions, replicas, topic_configs={"retention.ms": "-1"})
        response = await admin.create_topics([new], timeout_ms=REQUEST_TIMEOUT_MS)
        for _, code, *_ in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"Could not create topic {topic}.")
        return await _partitions(admin, topic) or partitions
    finally:
        await admin.close()


async def partition_count(bootstrap_servers: str, topic: str) -> int:
    """The number of partitions of the topic; 0 if it does not exist.

    Raises KafkaError or OSError if the broker is unavailable.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        return await _partitions(admin, topic)
    finally:
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    for description in await admin.describe_topics([topic]):
        if description["topic"] == topic and not description["error_code"]:
            return len(description["partitions"])
    return 0
