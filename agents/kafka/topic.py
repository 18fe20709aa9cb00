"""The topic that carries the events: made once, where the broker does not have it yet."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

REQUEST_TIMEOUT_MS = 10_000
MOST_REPLICAS = 3


async def ensure_topic(bootstrap_servers: str, topic: str, *, partitions: int) -> int:
    """Make the topic if it is not there; return how many partitions it has.

    A topic that exists is left as it is. Raises KafkaError or OSError when the broker is away.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        found = await _partitions(admin, topic)
        if found:
            return found
        # Events are kept: the broker's default of seven days would drop what a new projection needs.
        replicas = min(MOST_REPLICAS, len((await admin.describe_cluster())["brokers"]))
        new = NewTopic(topic, partitions, replicas, topic_configs={"retention.ms": "-1"})
        response = await admin.create_topics([new], timeout_ms=REQUEST_TIMEOUT_MS)
        for _, code, *_ in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"topic {topic} could not be made")
        return await _partitions(admin, topic) or partitions
    finally:
        await admin.close()


async def partition_count(bootstrap_servers: str, topic: str) -> int:
    """How many partitions the topic has; 0 when it is not there.

    Raises KafkaError or OSError when the broker is away.
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
