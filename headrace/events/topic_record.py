"""The record on the topic: how a stored event is written there, and how a record is read back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from headrace.events import rfc3339
from headrace.events.known_types import NO_DATA
from headrace.events.partition_key import partition_key
from headrace.process.throttled_log import ThrottledLog

log = logging.getLogger(__name__)
throttled = ThrottledLog(log)

POSITION_DIGITS = 20
FOLLOWS = "headrace-follows"
"""The header of the first record of a Kafka batch: the position of the partition's event before it. Kafka can lose
records; a projector that finds a gap here reads the missing events from the event store."""

HEADERS = [("content-type", b"application/cloudevents+json")]


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event as it comes from the topic; `data` still as JSON text."""

    position: int
    partition: int
    id: str
    source: str
    type: str
    subject: str | None
    time: str
    """RFC 3339 in UTC."""
    data: msgspec.Raw
    partition_key: str


class PastEvent(NamedTuple):
    """An event of the store: where it is, and the envelope as JSON."""

    position: int
    partition: int
    text: str


class _RecordEnvelope(msgspec.Struct, frozen=True, gc=False):
    id: str
    source: str
    type: str
    sequence: str
    time: str
    subject: str | None = None
    partitionkey: str | None = None
    data: msgspec.Raw = msgspec.Raw(NO_DATA)


_decoder = msgspec.json.Decoder(_RecordEnvelope)


def encode(text: str, position: int) -> bytes:
    """The value of an event's record: its accepted text with the extension `sequence`, the position in 20 digits."""
    if '"sequence"' in text:
        text = _without_sequence(text)
    return f'{text[:-1]},"sequence":"{position:020d}"}}'.encode()


def headers(position: int, follows: int | None) -> list[tuple[str, bytes]]:
    """Those of the first record of a Kafka batch; `follows`: the position of the partition's event before it."""
    if follows is None or follows >= position:
        return HEADERS
    return [*HEADERS, (FOLLOWS, b"%d" % follows)]


def decode(value: bytes | None, partition: int) -> Record | None:
    """A record's value as an event; None, and a line in the log, for what the relay did not write."""
    try:
        envelope = _decoder.decode(value or b"")
        if len(envelope.sequence) != POSITION_DIGITS or not envelope.sequence.isdecimal():
            raise ValueError("the extension sequence is not a position")  # noqa: TRY301 - one place logs
        return Record(
            int(envelope.sequence),
            partition,
            envelope.id,
            envelope.source,
            envelope.type,
            envelope.subject,
            rfc3339.to_utc(envelope.time),
            envelope.data,
            partition_key(envelope.partitionkey, envelope.subject, envelope.source),
        )
    except ValueError as error:
        throttled.warning("A record of partition %s is not an event of Headrace; skipped: %s", partition, error)
        return None


def followed(sent: Sequence[tuple[str, bytes]]) -> int | None:
    """The position of the event before the record with these headers, in its partition; None if they do not say."""
    for name, value in sent:
        if name == FOLLOWS and value.isdigit():
            return int(value)
    return None


def past_record(event: PastEvent) -> Record | None:
    """An event of the store as it came, or would have come, from the topic."""
    members = msgspec.json.decode(event.text, type=dict[str, msgspec.Raw])
    members["sequence"] = msgspec.Raw(b'"%020d"' % event.position)
    return decode(msgspec.json.encode(members), event.partition)


def past_records(events: Sequence[PastEvent]) -> list[Record]:
    """Those of the stored events that can be read, as records."""
    return [record for event in events if (record := past_record(event))]


def _without_sequence(text: str) -> str:
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    members.pop("sequence", None)
    return msgspec.json.encode(members).decode()
