"""The CloudEvents 1.0.2 envelope: parses a client's text into `ParsedEvent`, or `InvalidEnvelope` with all errors.

Pure. The client's text is kept as it was sent; no number in it becomes a float on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from headrace.errors import HeadraceError
from headrace.events import attribute_rules, rfc3339, strict_json, unforeseen
from headrace.events.partition_key import partition_key
from headrace.events.plain_event import read_plain
from headrace.events.string_attributes import KNOWN, NAMES, REQUIRED, STRINGS

Code = Literal[
    strict_json.Code,
    attribute_rules.Code,
    "missing_attribute",
    "invalid_time",
    "both_data_forms",
    "event_too_large",
    "unreadable_event",
]
"""The errors of an envelope, for programs: these names never change."""

SEQUENCE_BYTES = len(',"sequence":""') + 20
"""Bytes of the extension `sequence`, a position of 20 digits, which is added when the event is published."""

TIME_BYTES = len(',"time":"2026-01-01T00:00:00.000000Z"')
"""Bytes of the attribute `time`, which is added when it is absent."""

MAX_ERRORS = 20
"""At most this many errors of an event are reported."""


class Limits(msgspec.Struct, frozen=True):
    """The maximum sizes of events and batches."""

    event_bytes: int = 1_000_000
    """Of an event's text in UTF-8 with `SEQUENCE_BYTES` added: the size of the record in Kafka.

    A number with an exponent counts as it is written out, because that is how PostgreSQL returns it.
    """
    batch_events: int = 5_000
    json_depth: int = 64
    """Levels of arrays and objects; the event itself is the first."""
    name_bytes: int = 255
    """Size of `id`, `type`, `subject` and `time` in UTF-8."""
    source_bytes: int = 1_024
    """Size of `source` and `partitionkey` in UTF-8."""


class ParsedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that can be stored."""

    id: str
    source: str
    type: str
    subject: str | None
    time: str
    """In UTC, as `rfc3339.to_utc` writes it; the time of receipt if the sender gave none."""
    time_given: bool
    partition_key: str
    data: msgspec.Raw | None
    """The JSON text of `data`, which may be `null`; None if the event has no `data`, or `data_base64` instead."""
    text: str
    """The whole event as structured JSON, as it was sent, without white space around it.

    If `time` was absent, it is added as the last attribute; escapes in names of attributes are decoded.
    """


class EnvelopeError(msgspec.Struct, frozen=True):
    """An error in an event, and its place."""

    pointer: str
    """JSON pointer (RFC 6901) into the event; "" for the whole event."""
    code: str
    """A member of `Code`, or a code of the check of `data`."""
    detail: str
    """For people. It repeats nothing of the event but an attribute's name."""


class InvalidEnvelope(HeadraceError):  # noqa: N818 - one word for it in code and documents
    """The text is not an event that can be accepted."""

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
        """HTTP status: 400, 413 for an event or a batch that is too large, or 422 if the event cannot be read."""
        self.id = event_id
        """The event's id, if it can be read and is valid; the same for `source`."""
        self.source = source


def parse_event(body: bytes | msgspec.Raw, limits: Limits, received_at: str) -> ParsedEvent:
    """Read an event in structured JSON; `received_at` (as `rfc3339.now` writes it) is its time if it has none.

    Raises InvalidEnvelope with the errors of the event.
    """
    event = parse_element(bytes(body), limits, received_at)
    if isinstance(event, InvalidEnvelope):
        raise event
    return event


def elements(body: bytes, limits: Limits) -> list[msgspec.Raw]:
    """The texts of a batch's events, which are views of the body: for `parse_element`, after a copy.

    Raises InvalidEnvelope when the body is not a JSON array or has too many events. It cannot be read either when an
    element is nested about 1,000 levels deep.
    """
    try:
        return strict_json.elements(body, limits.batch_events)
    except strict_json.InvalidJson as error:
        raise _not_json(error) from None


def parse_element(body: bytes, limits: Limits, received_at: str) -> ParsedEvent | InvalidEnvelope:
    """As `parse_event`, but the errors are returned: an event of a batch does not affect the others.

    A raised error would also keep its frames, and so the batch, in memory.
    """
    try:
        return _plain_event(body, limits, received_at) or _parse(body, limits, received_at)
    except Exception as error:  # noqa: BLE001 - an event must not affect the others of its batch, nor its worker
        return unreadable(error)


_STRING = msgspec.json.Decoder(str)
_LONG = frozenset({"source", "partitionkey"})
_NULL = b"null"
_TOO_LARGE = frozenset({"batch_too_large", "event_too_large"})


def _plain_event(body: bytes, limits: Limits, received_at: str) -> ParsedEvent | None:
    """An event as most are; None if only `_parse` can tell what it is. It gives the same, several times slower."""
    max_bytes = limits.event_bytes - SEQUENCE_BYTES - TIME_BYTES
    try:
        text = body.decode("ascii")
        plain = read_plain(text, name_bytes=limits.name_bytes, max_depth=limits.json_depth, max_bytes=max_bytes)
        if plain is None:
            return None
        time = rfc3339.to_utc(plain.time) if plain.time else received_at
    except ValueError:
        return None
    return ParsedEvent(
        id=plain.id,
        source=plain.source,
        type=plain.type,
        subject=plain.subject or None,
        time=time,
        time_given=bool(plain.time),
        partition_key=plain.subject or plain.source,
        data=plain.data or None,
        text=text if plain.time else _with_time(text, {}, received_at),
    )


def _parse(body: bytes, limits: Limits, received_at: str) -> ParsedEvent | InvalidEnvelope:
    room = limits.event_bytes - SEQUENCE_BYTES
    if len(body) > room and len(body.strip(strict_json.WHITE_SPACE)) > room:
        return too_large(limits)
    try:
        text, members = strict_json.members(body, limits.json_depth, max_bytes=room - TIME_BYTES)
    except strict_json.InvalidJson as error:
        return _not_json(error)
    errors: list[EnvelopeError] = []
    try:
        strings = STRINGS.decode(text)
    except msgspec.ValidationError:
        strings = _read_strings(members, errors)
    given = strings.pop("time", None)
    time = received_at if given is None else _read_time(given, limits, errors)
    _check_strings(strings, limits, errors)
    data = _read_data(members, strings, errors)
    if not KNOWN.issuperset(members):
        _check_extensions(members, errors)
    if errors:
        return _refused(strings, errors)
    if given is None:
        text = _with_time(text, members, received_at)
        # Without a time, a text is never longer than the body.
        if len(body) > room - TIME_BYTES and len(text.encode()) > room:
            return too_large(limits)
    return _event(strings, time, data, text, time_given=given is not None)


def _event(strings: dict[str, Any], time: str, data: msgspec.Raw | None, text: str, *, time_given: bool) -> ParsedEvent:
    subject, source = strings.get("subject"), strings["source"]
    return ParsedEvent(
        id=strings["id"],
        source=source,
        type=strings["type"],
        subject=subject,
        time=time,
        time_given=time_given,
        partition_key=partition_key(strings.get("partitionkey"), subject, source),
        data=data,
        text=text,
    )


def _with_time(text: str, members: dict[str, msgspec.Raw], received_at: str) -> str:
    if "time" in members:  # it is null
        text = strict_json.text_of({name: raw for name, raw in members.items() if name != "time"})
    return f'{text[:-1]},"time":"{received_at}"}}'


def _read_strings(members: dict[str, msgspec.Raw], errors: list[EnvelopeError]) -> dict[str, str | None]:
    """Read the strings one by one, after they could not be read at once."""
    strings: dict[str, str | None] = {}
    for name in NAMES:
        raw = bytes(members.get(name, _NULL))
        if raw.startswith(b'"'):
            strings[name] = _STRING.decode(raw)
        elif raw != _NULL:
            errors.append(EnvelopeError(f"/{name}", "invalid_type", "must be a string"))
        elif name in REQUIRED:
            errors.append(EnvelopeError(f"/{name}", "missing_attribute", "is required"))
    return strings


def _read_time(given: str, limits: Limits, errors: list[EnvelopeError]) -> str:
    if len(given) > limits.name_bytes:
        errors.append(EnvelopeError("/time", "too_long", f"must be at most {limits.name_bytes} bytes"))
        return given
    try:
        return rfc3339.to_utc(given)
    except ValueError as error:
        errors.append(EnvelopeError("/time", "invalid_time", str(error)))
        return given


def _check_strings(strings: dict[str, str | None], limits: Limits, errors: list[EnvelopeError]) -> None:
    for name, value in strings.items():
        max_bytes = limits.source_bytes if name in _LONG else limits.name_bytes
        if value is not None and (violation := attribute_rules.RULES[name](value, max_bytes)) is not None:
            errors.append(EnvelopeError(f"/{name}", *violation))


def _check_extensions(members: dict[str, msgspec.Raw], errors: list[EnvelopeError]) -> None:
    for name, raw in members.items():
        if name not in KNOWN and (violation := attribute_rules.wrong_extension(name, bytes(raw))) is not None:
            errors.append(EnvelopeError(strict_json.pointer_to(name), *violation))
            if len(errors) >= MAX_ERRORS:
                return


def _read_data(
    members: dict[str, msgspec.Raw], strings: dict[str, str | None], errors: list[EnvelopeError]
) -> msgspec.Raw | None:
    data = members.get("data")
    if data is None or strings.get("data_base64") is None:
        return data
    if bytes(data) != _NULL:
        errors.append(EnvelopeError("/data_base64", "both_data_forms", "must not be present together with data"))
    return None


def _refused(strings: dict[str, str | None], errors: list[EnvelopeError]) -> InvalidEnvelope:
    wrong = {error.pointer for error in errors}
    return InvalidEnvelope(
        errors,
        event_id=None if "/id" in wrong else strings["id"],
        source=None if "/source" in wrong else strings["source"],
    )


def _not_json(error: strict_json.InvalidJson) -> InvalidEnvelope:
    status = 413 if error.code in _TOO_LARGE else 400
    return InvalidEnvelope([EnvelopeError(error.pointer, error.code, error.detail)], status=status)


def too_large(limits: Limits) -> InvalidEnvelope:
    """The error for an event of more than `limits.event_bytes`."""
    detail = (
        f"an event may have at most {limits.event_bytes} bytes of UTF-8, {SEQUENCE_BYTES} of them reserved for its "
        "sequence: store large data elsewhere and refer to it"
    )
    return InvalidEnvelope([EnvelopeError("", "event_too_large", detail)], status=413)


def unreadable(error: Exception) -> InvalidEnvelope:
    """The error for an event whose reading failed unexpectedly. Raises MemoryError, which is not the event's fault."""
    return InvalidEnvelope([EnvelopeError("", "unreadable_event", unforeseen.note(error))], status=422)
