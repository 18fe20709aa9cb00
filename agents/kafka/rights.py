"""What a worker may do with its topic and its consumer group, checked before it starts."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    NoError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from agents.kafka.access import KafkaAccess
from agents.kafka.topic import admin_of

CHECK_SECONDS = 3.0
MAY_NOT_CREATE = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError, PolicyViolationError)


async def lacking_rights(kafka: KafkaAccess, topic: str, *, partitions: int, group: str | None) -> list[str]:
    """What the worker may not do, each with what to do; nothing if Kafka is away: then it is waited for.

    `group`: the consumer group, if the worker joins one. Whether it may read and write is known only when it does.
    """
    found: list[str] = []
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            async with admin_of(kafka, timeout_ms=int(CHECK_SECONDS * 1_000)) as admin:
                found += await _on_topic(admin, topic, partitions)
                if group:
                    found += await _on_group(admin, group)
    except (KafkaError, OSError, TimeoutError):
        return found
    return found


async def _on_topic(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> list[str]:
    found = next((for_code(one["error_code"]) for one in await admin.describe_topics([topic])), NoError)
    if found is TopicAuthorizationFailedError:
        return [f"Kafka refuses access to the topic {topic}: allow DESCRIBE, READ and WRITE, or set TOPIC"]
    if found is not UnknownTopicOrPartitionError:
        return []
    answer = await admin.create_topics([NewTopic(topic, partitions, 1)], validate_only=True)
    errors = [for_code(code) for _, code, *_ in answer.topic_errors]
    if not any(error in MAY_NOT_CREATE for error in errors):
        return []
    refused = f"Kafka has no topic {topic}, and refuses to create it ({errors[0].__name__})"
    return [f"{refused}: create it with {partitions} partitions and retention.ms=-1, or allow CREATE"]


async def _on_group(admin: AIOKafkaAdminClient, group: str) -> list[str]:
    refused = [f"Kafka refuses access to the consumer group {group}: allow READ, or set CONSUMER_GROUP"]
    try:
        answers = await admin.describe_consumer_groups([group])
    except GroupAuthorizationFailedError:
        return refused
    codes = [code for answer in answers for code, *_ in answer.groups]
    return refused if any(for_code(code) is GroupAuthorizationFailedError for code in codes) else []
