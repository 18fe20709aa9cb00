"""Publishes events that the broker refused before, at the end of their partitions.

Projections have applied them already. A header says that later events come before them.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from agents.kafka.access import KafkaAccess
from agents.kafka.stopping import stopped
from agents.relay.refusals import REFUSALS, text_of
from agents.relay.topic_refill import as_stored
from headrace.events import topic_record
from headrace.events.origin import ORIGIN, Timeline, sign
from headrace.events.topic_record import PastEvent, is_whole
from tables.database import AnyConnection
from tables.history import epochs
from tables.intake import unpublished
from tables.intake.unpublished import Refused

AT_ONCE = 10
SECONDS = 20.0
# The topic decides what is too large.
MAX_REQUEST_BYTES = 2**30
UNREADABLE = "PostgreSQL cannot write the event as text: it stays unpublished"


class LateOutcome(NamedTuple):
    """What became of a retry."""

    published: int
    refused: list[Refused]


async def publish_late(
    connection: AnyConnection, kafka: KafkaAccess, topic: str, *, position: int | None
) -> LateOutcome:
    """Publish all unpublished events, or that at `position`, in order; relays may run at the same time.

    Raises KafkaError, OSError or TimeoutError if the broker is unavailable; what was published until then is recorded.
    """
    timeline = await epochs.read(connection)
    producer = AIOKafkaProducer(acks="all", max_request_size=MAX_REQUEST_BYTES, **kafka.arguments())
    outcome, after = LateOutcome(0, []), 0
    try:
        async with asyncio.timeout(SECONDS):
            await producer.start()
        while events := await unpublished.with_events(connection, after=after, position=position, at_most=AT_ONCE):
            for event in events:
                refused = await _publish(producer, topic, event, timeline)
                if refused is None:
                    await unpublished.note_published(connection, [event.position])
                    outcome = outcome._replace(published=outcome.published + 1)
                else:
                    await unpublished.set_aside(connection, [refused])
                    outcome.refused.append(refused)
            after = events[-1].position
    finally:
        await stopped(producer.stop())
    return outcome


async def _publish(producer: AIOKafkaProducer, topic: str, past: PastEvent, timeline: Timeline) -> Refused | None:
    if not is_whole(past.text):
        return Refused(past.position, past.partition, UNREADABLE, len(past.text))
    event = as_stored(past)
    key, value = event.partition_key.encode(), topic_record.encode(event.text, event.position)
    signed = sign(timeline.installation, timeline.epoch, event.partition, None, value)
    try:
        async with asyncio.timeout(SECONDS):
            await producer.send_and_wait(
                topic,
                value,
                key=key,
                partition=event.partition,
                headers=[*topic_record.LATE_HEADERS, (ORIGIN, signed)],
            )
    except REFUSALS as error:
        return Refused(event.position, event.partition, text_of(error), len(key) + len(value))
    return None
