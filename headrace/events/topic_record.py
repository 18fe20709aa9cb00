"""The record on the topic: encodes a stored event, and decodes a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from headrace.events import rfc3339
from headrace.events.known_types import NO_DATA
from headrace.events.partition_key import partition_key
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog

log = ActionLog(__name__)
throttled = ThrottledLog(log)

POSITION_DIGITS = 20
MAX_POSITION = 2**63 - 1
FOLLOWS = "headrace-follows"
"""Header of the first record of a Kafka batch: the position of the previous event of the partition. Kafka can lose
records; a projector that finds a gap here reads the missing events from the event store."""

HEADERS = [("content-type", b"application/cloudevents+json")]


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event from the topic, with `data` as JSON text."""

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
    """An event of the event store: its position, its partition, and its envelope as JSON."""

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
    """The value of an event's record: its accepted text plus the extension `sequence`, the position in 20 digits."""
    if '"sequence"' in text:
        text = _without_sequence(text)
    return f'{text[:-1]},"sequence":"{position:020d}"}}'.encode()


def headers(position: int, follows: int | None) -> list[tuple[str, bytes]]:
    """Headers of the first record of a Kafka batch; `follows`: the position of the partition's previous event."""
    if follows is None or follows >= position:
        return HEADERS
    return [*HEADERS, (FOLLOWS, b"%d" % follows)]


def decode(value: bytes | None, partition: int) -> Record | None:
    """A record's value as an event; None, with a warning in the log, for a record that the relay did not write."""
    try:
        envelope = _decoder.decode(value or b"")
        digits = envelope.sequence
        is_number = len(digits) == POSITION_DIGITS and digits.isascii() and digits.isdecimal()
        position = int(digits) if is_number else 0
        if not 0 < position <= MAX_POSITION:
            raise ValueError("the extension sequence is not a position")  # noqa: TRY301 - logged in one place, below
        return Record(
            position,
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
        throttled.warning(
            LogAction.RECORD_SKIPPED,
            "A record in partition {partition} is not an event of Headrace; skipped: {error}",
            partition=partition,
            error=str(error),
        )
        return None


def followed(record_headers: Sequence[tuple[str, bytes | None]]) -> int | None:
    """The position of the previous event of the partition, from a record's headers; None if they do not have it."""
    for name, value in record_headers:
        if name == FOLLOWS and value is not None and value.isdigit() and len(value) <= POSITION_DIGITS:
            position = int(value)
            return position if position <= MAX_POSITION else None
    return None


def past_record(event: PastEvent) -> Record | None:
    """An event of the event store as a record of the topic; None, with a warning in the log, if it is unreadable."""
    members = msgspec.json.decode(event.text, type=dict[str, msgspec.Raw])
    members["sequence"] = msgspec.Raw(b'"%020d"' % event.position)
    return decode(msgspec.json.encode(members), event.partition)


def past_records(events: Sequence[PastEvent]) -> list[Record]:
    """The stored events that can be read, as records."""
    return [record for event in events if (record := past_record(event))]


def _without_sequence(text: str) -> str:
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    members.pop("sequence", None)
    return msgspec.json.encode(members).decode()
