"""Publishes again, from the event store, what the topic lacks at its end: after it was lost, or its end was.

Guarantee: what it publishes is in order of position, and nothing later comes before it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TypeVar

import msgspec

from agents.relay.publisher import Publisher, TopicTooSmallError
from headrace.errors import DependencyAwayError
from headrace.events.partition_key import partition_key
from headrace.events.topic_record import PastEvent
from tables.database import AnyConnection
from tables.history import event_store
from tables.history.event_store import StoredUpTo
from tables.intake.outbox import MOST_ROUND_EVENTS, StoredEvent

Answer = TypeVar("Answer")

AT_ONCE = 200
NOT_IN_THE_OUTBOX = 0

log = logging.getLogger(__name__)


class _Keys(msgspec.Struct, gc=False):
    source: str
    subject: str | None = None
    partitionkey: str | None = None


_decoder = msgspec.json.Decoder(_Keys)


async def refill(connection: AnyConnection, publisher: Publisher, *, before: int | None = None) -> None:
    """Bring the topic up to the event store, or up to `before`, from where on the relay has the events at hand.

    Only the active relay may, before it publishes anything else. Raises what `Publisher.publish` raises and what the
    database raises; then the publisher must be discarded, so that the next connection begins here again.
    """
    stored = await _answer(event_store.stored_up_to(connection))
    if stored and max(stored) >= publisher.partitions:
        raise TopicTooSmallError(
            f"The topic has {publisher.partitions} partitions, and events are stored for {max(stored) + 1}: "
            "make it with at least as many"
        )
    published = await publisher.last_positions()
    after = {partition: _after(published[partition], up_to) for partition, up_to in stored.items()}
    behind = [partition for partition, up_to in stored.items() if published[partition] < up_to.last]
    done = min((after[partition] for partition in behind), default=0)
    end = max((stored[partition].last + 1 for partition in behind), default=0)
    end, count = end if before is None else min(end, before), 0
    while done + 1 < end:
        read = event_store.read_partitions(connection, behind, after=done, before=end, at_most=AT_ONCE)
        events = await _answer(read)
        missing = [_as_stored(event) for event in events if event.position > after[event.partition]]
        await publisher.publish(missing)
        count += len(missing)
        done = events[-1].position if events else end
    publisher.note_refilled()
    if count:
        log.warning("The topic lacked %s events of the event store; they are published again.", count)


async def _answer(asked: Awaitable[Answer]) -> Answer:
    """What the database answers; that it does not must not be taken for Kafka's silence."""
    try:
        return await asked
    except (OSError, TimeoutError) as error:
        raise DependencyAwayError from error


def _after(published: int, stored: StoredUpTo) -> int:
    """The position from where on a partition's events may be lacking. The last round is short; what was before it may
    be far away where the partition had no events for long, and as a rule it is in the topic."""
    return published if published < stored.previous else max(published, stored.last - MOST_ROUND_EVENTS)


def _as_stored(event: PastEvent) -> StoredEvent:
    keys = _decoder.decode(event.text)
    key = partition_key(keys.partitionkey, keys.subject, keys.source)
    return StoredEvent(NOT_IN_THE_OUTBOX, event.position, event.partition, key, event.text)
