"""CloudEvents in binary mode: parses attributes and a body into the event that structured JSON would give."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping

from headrace.events import strict_json
from headrace.events.envelope import EnvelopeError, InvalidEnvelope, Limits, ParsedEvent, parse_event, too_large

# As the JSON format says: JSON has this subtype or this suffix.
_JSON = re.compile(r"[^/;\s]+/(?:[^/;\s]+\+)?json", re.IGNORECASE)
# In binary mode the body is the data, and the content type is its type.
_NOT_ATTRIBUTES = frozenset({"data", "data_base64", "datacontenttype"})


def is_json(content_type: str) -> bool:
    """Whether data of this media type is JSON."""
    return _JSON.fullmatch(content_type.partition(";")[0].strip()) is not None


def parse_binary(
    attributes: Mapping[str, str], content_type: str | None, body: bytes, limits: Limits, received_at: str
) -> ParsedEvent:
    """Read an event; see `parse_event`. A JSON body becomes `data`, any other body `data_base64`; it may be empty.

    Raises InvalidEnvelope; its pointers refer to the structured form.
    """
    if len(body) > limits.event_bytes:
        raise too_large(limits)
    if wrong := _NOT_ATTRIBUTES.intersection(attributes):
        detail = "is not an attribute in binary mode: the body is the data, and Content-Type is its type"
        raise InvalidEnvelope(
            [EnvelopeError(strict_json.pointer_to(name), "invalid_attribute_name", detail) for name in sorted(wrong)]
        )
    if content_type is not None and not content_type.isascii():
        detail = "must be a media type such as application/json"
        raise InvalidEnvelope([EnvelopeError("/datacontenttype", "invalid_media_type", detail)])
    members = [f"{_text(name)}:{_text(value)}" for name, value in attributes.items()]
    if content_type is not None:
        members.append(f'"datacontenttype":{_text(content_type)}')
    if body:
        members.append(_data(content_type, body))
    return parse_event(("{" + ",".join(members) + "}").encode(), limits, received_at)


def _data(content_type: str | None, body: bytes) -> str:
    if content_type is None or not is_json(content_type):
        return f'"data_base64":"{b64encode(body).decode()}"'
    try:
        return f'"data":{strict_json.value(body)}'
    except strict_json.InvalidJson as error:
        raise InvalidEnvelope([EnvelopeError("/data", error.code, error.detail)]) from None


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
