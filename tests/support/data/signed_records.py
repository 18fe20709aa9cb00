"""Records as a relay writes them, of an installation that tests make up."""

from __future__ import annotations

from collections.abc import Sequence

from agents.kafka.fetch_batches import Headers, RecordBatch
from headrace.events.origin import MAX_POSITION, ORIGIN, Installation, Timeline, sign
from headrace.events.topic_record import HEADERS, encode
from tables.intake.outbox import StoredEvent

OURS = Installation(b"ours----", b"s" * 32)
EPOCH = 7


def timeline(installation: Installation = OURS, *, last_position: int = 0, **ends: int) -> Timeline:
    """The epoch EPOCH is open; `ends` has others, as e5=30: epoch 5 ended at position 30."""
    others = {int(name[1:]): end for name, end in ends.items()}
    return Timeline(installation, EPOCH, {**others, EPOCH: MAX_POSITION}, 0, last_position)


def signed(
    value: bytes, follows: int | None, *, partition: int = 0, epoch: int = EPOCH, installation: Installation = OURS
) -> Headers:
    """The headers of a record."""
    return [*HEADERS, (ORIGIN, sign(installation, epoch, partition, follows, value))]


def batch_of_stored(found: Timeline, records: Sequence[tuple[StoredEvent, int | None]]) -> RecordBatch:
    """A fetch of one partition: each event, and the position that its record names as the one before."""
    partition = records[0][0].partition
    values = [encode(event.text, event.position) for event, _ in records]
    headers = [
        signed(value, follows, partition=partition, epoch=found.epoch, installation=found.installation)
        for value, (_, follows) in zip(values, records, strict=True)
    ]
    return RecordBatch({partition: values}, headers={partition: headers})
