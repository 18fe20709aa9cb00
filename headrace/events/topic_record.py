"""The record on the topic: encodes a stored event, and decodes a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
# Of a bigint.
MAX_POSITION = 2**63 - 1
MAX_ERROR_CHARACTERS = 300
FOLLOWS = "headrace-follows"
"""Header of the first record of a Kafka batch: the position of the previous event of the partition. Kafka can lose
records; a projector that finds a gap here reads the missing events from the event store."""

# As a number, because bytes `in` bytes cost ten times as much.
_BACKSLASH = ord("\\")
HEADERS = [("content-type", b"application/cloudevents+json")]
LATE = "headrace-late"
"""Header of a record that was published after later events, because the broker had refused it before."""
LATE_HEADERS = [*HEADERS, (LATE, b"1")]


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
    dataschema: Any = None
    """A text, unless somebody else wrote the record. Only data types with older shapes ask for it."""


class PastEvent(NamedTuple):
    """An event of the event store: its position, its partition, and its envelope as JSON."""

    position: int
    partition: int
    text: str
    """It begins with a blank if PostgreSQL cannot write the event as text; then it lacks `data`."""


UNREADABLE = "PostgreSQL cannot write the event as text: its numbers have too many digits"
UNREADABLE_DATA = msgspec.Raw(b"")
"""The `data` of an event of the store that cannot be read; it is not JSON."""


def is_whole(text: str) -> bool:
    """Whether the text of a stored event has its `data`: PostgreSQL can write it."""
    return not text.startswith(" ")


class _RecordEnvelope(msgspec.Struct, frozen=True, gc=False):
    id: str
    source: str
    type: str
    sequence: str
    time: str
    subject: str | None = None
    partitionkey: str | None = None
    data: msgspec.Raw = msgspec.Raw(NO_DATA)
    dataschema: Any = None


_decoder = msgspec.json.Decoder(_RecordEnvelope)


def encode(text: str, position: int) -> bytes:
    """The value of an event's record: its accepted text plus the extension `sequence`, the position in 20 digits."""
    if '"sequence"' in text:
        text = _without_sequence(text)
    return f'{text[:-1]},"sequence":"{str(position).zfill(POSITION_DIGITS)}"}}'.encode()


def headers(position: int, follows: int | None) -> list[tuple[str, bytes]]:
    """Headers of the first record of a Kafka batch; `follows`: the position of the partition's previous event."""
    if follows is None or follows >= position:
        return HEADERS
    return [*HEADERS, (FOLLOWS, b"%d" % follows)]


def decode(value: bytes | None, partition: int) -> Record | None:
    """A record's value as an event; None, with a warning in the log, for a record that the relay did not write."""
    try:
        value = value or b""
        envelope = _decoder.decode(value)
        record = Record(
            _position(envelope.sequence),
            partition,
            envelope.id,
            envelope.source,
            envelope.type,
            envelope.subject,
            rfc3339.to_utc(envelope.time),
            envelope.data,
            partition_key(envelope.partitionkey, envelope.subject, envelope.source),
            envelope.dataschema,
        )
        if _BACKSLASH in value and b"\\u" in value and not _can_be_stored(envelope):
            raise ValueError("an attribute has a NUL")  # noqa: TRY301 - logged in one place, below
    except Exception as error:  # noqa: BLE001 - whatever a stranger wrote: an error that escaped would be retried
        throttled.warning(
            LogAction.RECORD_SKIPPED,
            "A record in partition {partition} is not an event of Headrace; skipped: {error}",
            partition=partition,
            error=str(error)[:MAX_ERROR_CHARACTERS],
        )
        return None
    return record


def _position(sequence: str) -> int:
    if len(sequence) == POSITION_DIGITS and sequence.isascii() and sequence.isdecimal():
        position = int(sequence)
        if 0 < position <= MAX_POSITION:
            return position
    raise ValueError("the extension sequence is not a position")


def _can_be_stored(envelope: _RecordEnvelope) -> bool:
    """Whether PostgreSQL can hold the attributes; in JSON, only an escape can be a NUL or a lone surrogate."""
    text = f"{envelope.id}{envelope.source}{envelope.type}{envelope.subject}{envelope.partitionkey}"
    return b"\0" not in text.encode()


def followed(record_headers: Sequence[tuple[str, bytes | None]]) -> int | None:
    """The position of the previous event of the partition, from a record's headers; None if they do not have it."""
    for name, value in record_headers:
        if name == FOLLOWS and value and len(value) < POSITION_DIGITS and value.isdigit():
            return int(value)
    return None


def is_late(record_headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Whether the record may follow later events of its partition."""
    return any(name == LATE for name, _ in record_headers)


def past_record(event: PastEvent) -> Record | None:
    """An event of the event store as a record of the topic; None, with a warning in the log, if it is unreadable."""
    members = msgspec.json.decode(event.text, type=dict[str, msgspec.Raw])
    members["sequence"] = msgspec.Raw(b'"%020d"' % event.position)
    record = decode(msgspec.json.encode(members), event.partition)
    if record is not None and not is_whole(event.text):
        return msgspec.structs.replace(record, data=UNREADABLE_DATA)
    return record


def past_records(events: Sequence[PastEvent]) -> list[Record]:
    """The stored events that can be read, as records."""
    return [record for event in events if (record := past_record(event))]


def _without_sequence(text: str) -> str:
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    members.pop("sequence", None)
    return msgspec.json.encode(members).decode()
