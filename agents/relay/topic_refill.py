"""Republishes events that are missing at the end of the topic, from the event store, after the topic lost records.

Guarantee: events are published in order of position, and no later event is published before them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agents.kafka.topic_end import UNSEEN
from agents.relay.paced_publishing import PacedPublisher, from_database, heartbeat
from agents.relay.publisher import TopicTooSmallError
from headrace.events.partition_key import partition_key
from headrace.events.topic_record import PastEvent, is_whole
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from tables.database import AnyConnection
from tables.history import epochs, event_store
from tables.history.event_store import StoredUpTo
from tables.intake import unpublished
from tables.intake.outbox import MAX_ROUND_EVENTS, StoredEvent

READ_EVENTS = 200
NOT_IN_THE_OUTBOX = 0

log = ActionLog(__name__)


class _Keys(msgspec.Struct, gc=False):
    source: str
    subject: str | None = None
    partitionkey: str | None = None


_decoder = msgspec.json.Decoder(_Keys)


async def refill(connection: AnyConnection, paced: PacedPublisher, *, before: int | None = None) -> None:
    """Bring the topic up to date with the event store, up to but excluding position `before` if it is given.

    Only the active relay may call this, before it publishes anything else. Raises TopicTooSmallError, the errors of
    `Publisher.publish`, and database errors. Then the publisher must be discarded, so that the next connect refills.
    """
    publisher = paced.publisher
    stored = await from_database(event_store.stored_up_to(connection))
    if stored and max(stored) >= publisher.partitions:
        raise TopicTooSmallError(
            f"The topic has {publisher.partitions} partitions, but events are stored for {max(stored) + 1}: "
            "recreate it with at least that many."
        )
    if publisher.timeline is not None:
        now = await from_database(epochs.read(connection))
        publisher.timeline = now._replace(epoch=publisher.timeline.epoch)
    async with heartbeat(connection):
        published = await publisher.last_positions()
    for partition, up_to in stored.items():
        if published[partition] == UNSEEN:  # at most one round is missing
            published[partition] = up_to.previous
    after = {partition: _after(published[partition], up_to) for partition, up_to in stored.items()}
    behind = [partition for partition, up_to in stored.items() if published[partition] < up_to.last]
    done = min((after[partition] for partition in behind), default=0)
    end = max((stored[partition].last + 1 for partition in behind), default=0)
    end, count = end if before is None else min(end, before), 0
    while done + 1 < end:
        read = event_store.read_partitions(connection, behind, after=done, before=end, at_most=READ_EVENTS)
        events = await from_database(read)
        missing = [event for event in events if event.position > after[event.partition]]
        count += await _publish_readable(connection, paced, missing)
        done = events[-1].position if events else end
    publisher.note_refilled()
    if count:
        text = "The topic lacked {count} events of the event store; they were published again"
        log.warning(LogAction.RELAY_REFILLED, text, count=count)


async def _publish(connection: AnyConnection, paced: PacedPublisher, events: Sequence[StoredEvent]) -> int:
    """Publish events that the topic lacks; return how many the broker has not refused."""
    if not events:
        return 0
    refused: set[int] = set()
    left = events
    while left:
        piece = await paced.publish_next(connection, left)
        refused |= {event.position for event in piece.refused}
        left = left[piece.done :]
    published = [event.position for event in events if event.position not in refused]
    await from_database(unpublished.note_published(connection, published))
    return len(published)


def _after(published: int, stored: StoredUpTo) -> int:
    """The position after which events of a partition may be missing.

    The last round spans few positions, but the event before it may be far back if the partition was idle. That event
    is usually on the topic.
    """
    return published if published < stored.previous else max(published, stored.last - MAX_ROUND_EVENTS)


async def _publish_readable(connection: AnyConnection, paced: PacedPublisher, events: Sequence[PastEvent]) -> int:
    """Publish the events, leaving out those that cannot be read; return how many were published."""
    count = 0
    readable: list[StoredEvent] = []
    for event in events:
        if is_whole(event.text):
            readable.append(as_stored(event))
            continue
        count += await _publish(connection, paced, readable)
        readable = []
        paced.publisher.leave_out(event.partition, event.position)
        text = "The event at position {position} cannot be published again: PostgreSQL cannot write it as text"
        log.warning(LogAction.RELAY_LEFT_OUT, text, position=event.position)
    return count + await _publish(connection, paced, readable)


def as_stored(event: PastEvent) -> StoredEvent:
    """An event of the store as one of the outbox, which has no row for it.

    The blanks of jsonb are left out: with them a record could be too large for the topic.
    """
    keys = _decoder.decode(event.text)
    key = partition_key(keys.partitionkey, keys.subject, keys.source)
    compact = msgspec.json.format(event.text, indent=-1)
    return StoredEvent(NOT_IN_THE_OUTBOX, event.position, event.partition, key, compact)
