"""The CloudEvents 1.0.2 envelope: what a client sent -> `Event`, or `InvalidEnvelope` with everything that is wrong.

Pure. The client's text is kept as it came; no number in it becomes a float on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, cast

import msgspec

from app import attributes, rfc3339, strict_json
from app.errors import HeadraceError

Code = Literal[
    strict_json.Code, attributes.Code, "missing_attribute", "invalid_time", "both_data_forms", "event_too_large"
]
"""What can be wrong with an envelope, for programs: these names stay as they are."""

SEQUENCE_BYTES = 40
"""Room for the extension `sequence`, which is added when the event is published."""

MOST_ERRORS = 20
"""So many errors of one event are told at the most."""


class Limits(msgspec.Struct, frozen=True):
    """How large an event may be."""

    event_bytes: int = 1_000_000
    """Of an event's text in UTF-8 with `SEQUENCE_BYTES` added: what goes to Kafka."""
    batch_events: int = 5_000
    json_depth: int = 64
    """Levels of arrays and objects; the event itself is the first."""
    name_bytes: int = 255
    """Of `id`, `type`, `subject` and `time` in UTF-8."""
    source_bytes: int = 1_024
    """Of `source` and `partitionkey` in UTF-8."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event that can be stored."""

    id: str
    source: str
    type: str
    subject: str | None
    time: str
    """In UTC, as `rfc3339.to_utc` writes it; the time of receipt where the sender gave none."""
    time_given: bool
    partition_key: str
    data: msgspec.Raw | None
    """The JSON text of `data`, which may be `null`; None where there is no `data`, or `data_base64` in its place."""
    text: str
    """The whole event as structured JSON, as it was sent but for white space around it. Where `time` was absent it is
    the last attribute; an attribute's name that was spelled with escapes is spelled out."""


class EnvelopeError(msgspec.Struct, frozen=True):
    """One thing that is wrong with an event."""

    pointer: str
    """JSON pointer (RFC 6901) into the event; "" for the whole."""
    code: str
    """One of `Code`; what checks `data` may have codes of its own."""
    detail: str
    """For people. Of what was sent it repeats at most an attribute's name."""


class InvalidEnvelope(HeadraceError):  # noqa: N818 - one word for it in code and documents
    """What was sent is no event that can be accepted."""

    def __init__(
        self,
        errors: Sequence[EnvelopeError],
        *,
        status: int = 400,
        event_id: str | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__("; ".join(f"{error.pointer}: {error.detail}".removeprefix(": ") for error in errors))
        self.errors = tuple(errors)
        self.status = status
        """HTTP: 400, or 413 for an event or a batch that is too large."""
        self.id = event_id
        """The event's id where it can be read and nothing is wrong with it; so is `source`."""
        self.source = source


def parse_event(body: bytes | msgspec.Raw, limits: Limits, received_at: str) -> Event:
    """Read one event in structured JSON; `received_at` (as `rfc3339.now` writes it) is its time where it has none.

    Raises InvalidEnvelope with the errors of the event.
    """
    event = _parse(bytes(body), limits, received_at)
    if isinstance(event, InvalidEnvelope):
        raise event
    return event


def parse_batch(body: bytes, limits: Limits, received_at: str) -> list[Event | InvalidEnvelope]:
    """Read a JSON array of events, which may be empty. An event that is wrong does not spoil the others.

    Raises InvalidEnvelope when the whole is not a JSON array (also when an element is nested so deep, about 1,000
    levels, that what follows cannot be read) or has too many events. The results do not keep the body in memory.
    """
    try:
        elements = strict_json.elements(body, limits.batch_events)
    except strict_json.InvalidJson as error:
        raise _not_json(error) from None
    return [_parse(bytes(element), limits, received_at) for element in elements]


class _Required(TypedDict):
    specversion: str
    id: str
    source: str
    type: str


class _Strings(_Required, total=False):
    """The attributes that are strings. An optional one that is null is absent, as the JSON format says."""

    subject: str | None
    time: str | None
    datacontenttype: str | None
    dataschema: str | None
    partitionkey: str | None
    data_base64: str | None


_STRINGS: msgspec.json.Decoder[dict[str, str | None]] = msgspec.json.Decoder(cast("Any", _Strings))
_STRING = msgspec.json.Decoder(str)
_STRING_NAMES = (*_Required.__annotations__, *(_Strings.__annotations__.keys() - _Required.__annotations__))
_KNOWN = frozenset({*_STRING_NAMES, "data"})
_LONG = frozenset({"source", "partitionkey"})
_NULL = b"null"


def _parse(body: bytes, limits: Limits, received_at: str) -> Event | InvalidEnvelope:
    """Errors are returned: one that was raised would keep the frames it came through, and so the batch, in memory."""
    room = limits.event_bytes - SEQUENCE_BYTES
    if len(body) > room and len(body.strip(strict_json.WHITE_SPACE)) > room:
        return _too_large(limits)
    try:
        text, members = strict_json.members(body, limits.json_depth)
    except strict_json.InvalidJson as error:
        return _not_json(error)
    try:
        strings, errors = _STRINGS.decode(text), []
    except msgspec.ValidationError:
        strings, errors = _read_strings(members)
    time = _read_time(strings.pop("time", None), limits, errors)
    ...
