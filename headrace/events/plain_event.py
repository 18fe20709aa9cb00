"""A faster way to read valid events as most are; what is not plain, or not valid, is left to `envelope`.

A plain event has only the attributes below, in ASCII, without escapes, and no white space outside of `data`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from headrace.events import strict_json


class PlainEvent(msgspec.Struct, frozen=True, gc=False):
    """The attributes of a plain event."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str = ""
    """Empty: absent; the same for `time`."""
    time: str = ""
    datacontenttype: Literal["application/json", ""] = ""
    data: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(PlainEvent)
_REQUIRED_BYTES = len('{"specversion":"1.0","id":"","source":"","type":""}')
_SUBJECT_BYTES, _TIME_BYTES, _DATA_BYTES = len(',"subject":""'), len(',"time":""'), len(',"data":')
_CONTENT_TYPE_BYTES = len(',"datacontenttype":""')


def read_plain(text: str, *, name_bytes: int, max_depth: int, max_bytes: int) -> PlainEvent | None:
    """A plain event that is valid, apart from its time; None if only the careful way can tell. See `Limits`.

    The lengths prove that the text has nothing else: another member, a duplicate, a blank or a null would make it
    longer. Valid JSON has no control characters, and ASCII has one more.
    """
    if not text.isascii() or "\\" in text or "\x7f" in text:
        return None
    try:
        event = _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return None
    names = len(event.id), len(event.source), len(event.type), len(event.subject), len(event.time)
    is_valid = max(names) <= name_bytes and min(names[:3]) > 0 and not event.source.isspace()
    if not is_valid or not sum(names) + _other_bytes(event) == len(text) <= max_bytes:
        return None
    data = bytes(event.data)
    if data and strict_json.problem_of(data, max_depth - 1, max_bytes - len(text) + len(data)) is not None:
        return None
    return event


def _other_bytes(event: PlainEvent) -> int:
    """The length of the text without the five names."""
    size = _REQUIRED_BYTES
    if event.subject:
        size += _SUBJECT_BYTES
    if event.time:
        size += _TIME_BYTES
    if event.datacontenttype:
        size += _CONTENT_TYPE_BYTES + len(event.datacontenttype)
    if event.data:
        size += _DATA_BYTES + len(event.data)
    return size
