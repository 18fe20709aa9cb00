"""Numbers in the event store, as the relay stores them, and in the hands of a projector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from agents.kafka.fetch_batches import RecordBatch
from agents.projector.projector import Projector
from headrace.events.topic_record import encode
from tables.database import Connection
from tables.intake import outbox
from tables.intake.outbox import StoredEvent

from tests.support.data.events import event

PARTITIONS = 4


async def store(connection: Connection, numbers: Sequence[tuple[str, Any]], **members: Any) -> list[StoredEvent]:
    """Store an event for each (subject, number); the ids continue the positions."""
    first = await connection.fetchval("SELECT last_position FROM relay_state") + 1
    events = [
        event(place, **{"type": "numbered", **members}, subject=subject, data={"number": number})
        for place, (subject, number) in enumerate(numbers, first)
    ]
    await outbox.accept(connection, events)
    stored = await outbox.store_next(connection, [], at_most=10_000, partitions=PARTITIONS)
    await outbox.delete(connection, [one.seq for one in stored])
    return stored


async def apply(projector: Projector[Any], stored: Sequence[StoredEvent]) -> None:
    """Give the events to the projector as one fetch."""
    values: dict[int, list[bytes | None]] = defaultdict(list)
    for one in stored:
        values[one.partition].append(encode(one.text, one.position))
    await projector.apply(RecordBatch(dict(values)))
