"""The topic that carries the events, created if the broker does not have it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from agents.kafka.access import KafkaAccess
from agents.kafka.refused_access import explained

REQUEST_TIMEOUT_MS = 10_000
MAX_REPLICAS = 3
MAX_EVENT_BYTES = 1_000_000
# Key, headers and what Kafka adds to a batch.
RECORD_OVERHEAD_BYTES = 16_384
# The broker's default.
MIN_MESSAGE_BYTES = 1_048_588
MAX_MESSAGE_BYTES = "max.message.bytes"
CLEANUP_POLICY = "cleanup.policy"


class FoundTopic(NamedTuple):
    """The topic as the broker has it."""

    partitions: int
    settings: Mapping[str, str]
    """Its configuration; empty if the broker does not say it, for example for lack of permission."""

    def number(self, name: str) -> int | None:
        """A setting that is a number; None if it is unknown."""
        try:
            return int(self.settings[name])
        except (KeyError, ValueError):
            return None

    @property
    def is_compacted(self) -> bool:
        """Whether the broker removes events that a later event of their key follows."""
        return "compact" in self.settings.get(CLEANUP_POLICY, "")


def message_bytes_for(event_bytes: int) -> int:
    """The `max.message.bytes` that a topic needs for events of at most `event_bytes`."""
    return event_bytes + RECORD_OVERHEAD_BYTES


@asynccontextmanager
async def admin_of(kafka: KafkaAccess, *, timeout_ms: int = REQUEST_TIMEOUT_MS) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for administration. Raises KafkaConnectionError, with the reason, if no broker lets the worker in."""
    admin = AIOKafkaAdminClient(request_timeout_ms=timeout_ms, **kafka.arguments())
    try:
        try:
            await admin.start()
        except KafkaConnectionError as error:
            raise await explained(kafka, error) from error
        yield admin
    finally:
        await admin.close()


async def ensure_topic(
    kafka: KafkaAccess, topic: str, *, partitions: int, max_event_bytes: int = MAX_EVENT_BYTES
) -> int:
    """Create the topic if it does not exist, for events of at most `max_event_bytes`; return its number of partitions.

    An existing topic is not changed. Raises KafkaError or OSError if the broker is unavailable.
    """
    async with admin_of(kafka) as admin:
        return await _ensure(admin, topic, partitions, max_event_bytes)


async def ensured_topic(kafka: KafkaAccess, topic: str, *, partitions: int, max_event_bytes: int) -> FoundTopic:
    """The same as `ensure_topic`, with the topic's settings."""
    async with admin_of(kafka) as admin:
        found = await _ensure(admin, topic, partitions, max_event_bytes)
        return FoundTopic(found, await _settings(admin, topic))


async def find_topic(kafka: KafkaAccess, topic: str) -> FoundTopic:
    """The topic; it has 0 partitions if it does not exist.

    Raises KafkaError or OSError if the broker is unavailable.
    """
    async with admin_of(kafka) as admin:
        return FoundTopic(await _partitions(admin, topic), await _settings(admin, topic))


async def _ensure(admin: AIOKafkaAdminClient, topic: str, partitions: int, max_event_bytes: int) -> int:
    found = await _partitions(admin, topic)
    if found:
        return found
    # No retention limit: the broker's default of seven days would delete events that a new projection needs.
    replicas = min(MAX_REPLICAS, len((await admin.describe_cluster())["brokers"]))
    largest = max(MIN_MESSAGE_BYTES, message_bytes_for(max_event_bytes))
    settings = {"retention.ms": "-1", MAX_MESSAGE_BYTES: str(largest)}
    response = await admin.create_topics(
        [NewTopic(topic, partitions, replicas, topic_configs=settings)], timeout_ms=REQUEST_TIMEOUT_MS
    )
    for _, code, *_ in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"Could not create topic {topic}.")
    return await _partitions(admin, topic) or partitions


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    for description in await admin.describe_topics([topic]):
        if description["topic"] == topic and not description["error_code"]:
            return len(description["partitions"])
    return 0


async def _settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    try:
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    except KafkaError:  # an old broker, or no permission: the relay works without them
        return {}
    return {
        name: value
        for response in responses
        for code, _, _, _, entries in response.resources
        if not code
        for name, value, *_ in entries
        if value is not None
    }
