"""The CloudEvents 1.0.2 envelope: what a client sent -> `Event`, or `InvalidEnvelope` with everything that is wrong.

Pure. The client's text is kept as it came; no number in it becomes a float on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, cast

import msgspec

from headrace.errors import HeadraceError
from headrace.events import attribute_rules, rfc3339, strict_json
from headrace.events.partition_key import partition_key

Code = Literal[
    strict_json.Code, attribute_rules.Code, "missing_attribute", "invalid_time", "both_data_forms", "event_too_large"
]
"""What can be wrong with an envelope, for programs: these names stay as they are."""

SEQUENCE_BYTES = len(',"sequence":""') + 20
"""The extension `sequence`, which is added when the event is published: a position of 20 digits."""

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
_REQUIRED = frozenset(_Required.__annotations__)
_KNOWN = frozenset({*_Strings.__annotations__, "data"})
_LONG = frozenset({"source", "partitionkey"})
_NULL = b"null"


def _parse(body: bytes, limits: Limits, received_at: str) -> Event | InvalidEnvelope:
    """Errors are returned: one that was raised would keep the frames it came through, and so the batch, in memory."""
    room = limits.event_bytes - SEQUENCE_BYTES
    if len(body) > room and len(body.strip(strict_json.WHITE_SPACE)) > room:
        return too_large(limits)
    try:
        text, members = strict_json.members(body, limits.json_depth)
    except strict_json.InvalidJson as error:
        return _not_json(error)
    errors: list[EnvelopeError] = []
    try:
        strings = _STRINGS.decode(text)
    except msgspec.ValidationError:
        strings = _read_strings(members, errors)
    given = strings.pop("time", None)
    time = received_at if given is None else _read_time(given, limits, errors)
    _check_strings(strings, limits, errors)
    data = _read_data(members, strings, errors)
    if not _KNOWN.issuperset(members):
        _check_extensions(members, errors)
    if errors:
        return _refused(strings, errors)
    if given is None:
        text = _with_time(text, members, received_at)
        if len(text.encode()) > room:
            return too_large(limits)
    return _event(strings, time, data, text, time_given=given is not None)


def _event(strings: dict[str, Any], time: str, data: msgspec.Raw | None, text: str, *, time_given: bool) -> Event:
    subject, source = strings.get("subject"), strings["source"]
    return Event(
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
    if "time" in members:  # and null
        text = strict_json.text_of({name: raw for name, raw in members.items() if name != "time"})
    return f'{text[:-1]},"time":"{received_at}"}}'


def _read_strings(members: dict[str, msgspec.Raw], errors: list[EnvelopeError]) -> dict[str, str | None]:
    """Read one by one what could not be read at once."""
    strings: dict[str, str | None] = {}
    for name in _Strings.__annotations__:
        raw = bytes(members.get(name, _NULL))
        if raw.startswith(b'"'):
            strings[name] = _STRING.decode(raw)
        elif raw != _NULL:
            errors.append(EnvelopeError(f"/{name}", "invalid_type", "must be a string"))
        elif name in _REQUIRED:
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
        most_bytes = limits.source_bytes if name in _LONG else limits.name_bytes
        if value is not None and (wrong := attribute_rules.RULES[name](value, most_bytes)) is not None:
            errors.append(EnvelopeError(f"/{name}", *wrong))


def _check_extensions(members: dict[str, msgspec.Raw], errors: list[EnvelopeError]) -> None:
    for name, raw in members.items():
        if name not in _KNOWN and (wrong := attribute_rules.wrong_extension(name, bytes(raw))) is not None:
            errors.append(EnvelopeError(strict_json.pointer_to(name), *wrong))
            if len(errors) >= MOST_ERRORS:
                return


def _read_data(
    members: dict[str, msgspec.Raw], strings: dict[str, str | None], errors: list[EnvelopeError]
) -> msgspec.Raw | None:
    data = members.get("data")
    if data is None or strings.get("data_base64") is None:
        return data
    if bytes(data) != _NULL:
        errors.append(EnvelopeError("/data_base64", "both_data_forms", "must not be there together with data"))
    return None


def _refused(strings: dict[str, str | None], errors: list[EnvelopeError]) -> InvalidEnvelope:
    wrong = {error.pointer for error in errors}
    return InvalidEnvelope(
        errors,
        event_id=None if "/id" in wrong else strings["id"],
        source=None if "/source" in wrong else strings["source"],
    )


def _not_json(error: strict_json.InvalidJson) -> InvalidEnvelope:
    status = 413 if error.code == "batch_too_large" else 400
    return InvalidEnvelope([EnvelopeError(error.pointer, error.code, error.detail)], status=status)


def too_large(limits: Limits) -> InvalidEnvelope:
    detail = (
        f"an event may have {limits.event_bytes} bytes of UTF-8, {SEQUENCE_BYTES} of them for its sequence: "
        "keep large data elsewhere and refer to it"
    )
    return InvalidEnvelope([EnvelopeError("", "event_too_large", detail)], status=413)
