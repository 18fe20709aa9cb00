"""Warns of settings of the topic with which events are refused or removed."""

from __future__ import annotations

from agents.kafka.topic import CLEANUP_POLICY, MAX_MESSAGE_BYTES, FoundTopic, message_bytes_for
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog


def warn(topic: FoundTopic, max_event_bytes: int, throttled: ThrottledLog) -> None:
    """Say what will happen with the topic as it is, after each connect."""
    limit, needed = topic.number(MAX_MESSAGE_BYTES), message_bytes_for(max_event_bytes)
    if limit is not None and limit < needed:
        throttled.warning(
            LogAction.TOPIC_SETTING,
            "{setting} of the topic is {value}, and events may need {needed} bytes. Larger records than that are "
            "set aside, and projected from the event store. Raise it on the topic, or lower MAX_EVENT_BYTES.",
            setting=MAX_MESSAGE_BYTES,
            value=str(limit),
            needed=needed,
        )
    if topic.is_compacted:
        throttled.warning(
            LogAction.TOPIC_SETTING,
            "{setting} of the topic is {value}: Kafka keeps only the last event of each key. Projections read removed "
            "events from the event store; other consumers never see them. Set it to delete.",
            setting=CLEANUP_POLICY,
            value=topic.settings[CLEANUP_POLICY],
        )
