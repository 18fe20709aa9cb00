"""The CloudEvents that ingestion accepts, as JSON Schema.

The description says what JSON Schema cannot: limits count bytes of UTF-8, and NUL is refused anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.events.envelope import Limits
from headrace.events.known_types import NO_DATA
from headrace.projection import Projection
from web.openapi.document import REFERENCE, Schema, reference

EVENT = "CloudEvent"
BATCH = "CloudEventBatch"
EXTENSION = "Extension"
REQUIRED = ("specversion", "id", "source", "type")
DESCRIPTION = (
    "A CloudEvent 1.0.2. Lengths are in bytes of UTF-8. NUL, lone surrogates, and numbers that PostgreSQL's jsonb "
    "cannot hold are refused anywhere. An event without `time` gets the time of its receipt."
)

_CHARACTER = r"[^\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]"
_VISIBLE = r"[^\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff\s]"
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - a token of RFC 9110
_QUOTED = rf'"(?:[^"\\\u0000-\u001f\u007f-\u009f]|\\{_CHARACTER})*"'
_MEDIA_TYPE = rf"^{_TOKEN}/{_TOKEN}(?: *; *{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))*$"
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_ABSOLUTE_URI = r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]+$"
_INT32 = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
_ABSENT: Schema = {"type": "null"}


def event_schemas(
    projections: Iterable[Projection[Any]], limits: Limits, *, refuse_unknown: bool
) -> Mapping[str, Schema]:
    """By name: an event, a batch, and the schemas that they refer to; known types have the data of the projections."""
    data_types: dict[str, list[Any]] = {}
    for projection in projections:
        for event_type, subscription in projection.by_type.items():
            data_types.setdefault(event_type, []).append(subscription.data)
    described = [one for types in data_types.values() for one in types]
    schemas, components = msgspec.json.schema_components(described, ref_template=REFERENCE)
    left = iter(schemas)
    kinds: list[Schema] = []
    for event_type, types in data_types.items():
        kinds += _known(event_type, types, [next(left) for _ in types], _attributes(limits))
    if not refuse_unknown:
        kinds += _unknown(list(data_types), _attributes(limits))
    return {
        **components,
        EVENT: {"title": EVENT, "description": DESCRIPTION, "anyOf": kinds},
        BATCH: {"title": BATCH, "type": "array", "items": reference(EVENT), "maxItems": limits.batch_events},
        EXTENSION: {
            "title": EXTENSION,
            "description": "An extension attribute; null is the same as absent.",
            "anyOf": [{"type": "string", "pattern": f"^{_CHARACTER}*$"}, {"type": "boolean"}, _INT32, _ABSENT],
        },
    }


def _attributes(limits: Limits) -> dict[str, Schema]:
    name = {"type": "string", "minLength": 1, "maxLength": limits.name_bytes, "pattern": f"^{_CHARACTER}+$"}
    source = {**name, "maxLength": limits.source_bytes, "pattern": rf"^{_CHARACTER}*{_VISIBLE}{_CHARACTER}*$"}
    short = {"type": "string", "maxLength": limits.name_bytes}
    return {
        "specversion": {"const": "1.0"},
        "id": name,
        "source": source,
        "type": name,
        "subject": _or_null(name),
        "time": _or_null({**short, "format": "date-time"}),
        "datacontenttype": _or_null({"type": "string", "pattern": _MEDIA_TYPE}),
        "dataschema": _or_null({"type": "string", "pattern": _ABSOLUTE_URI}),
        "partitionkey": _or_null({**name, "maxLength": limits.source_bytes}),
    }


def _known(
    event_type: str, types: Sequence[Any], schemas: Sequence[Schema], attributes: Mapping[str, Schema]
) -> Iterator[Schema]:
    """The schemas of a known type. An event without data is read as an event whose data is an empty object."""
    named = {**attributes, "type": {"const": event_type}}
    required = list(REQUIRED)
    if any(getattr(data, "needs_subject", False) for data in types):
        named["subject"] = attributes["id"]
        required.append("subject")
    fits = schemas[0] if len(schemas) == 1 else {"allOf": list(schemas)}
    yield _kind({**named, "data": fits, "data_base64": _ABSENT}, [*required, "data"])
    if all(_takes_nothing(data) for data in types):
        yield _kind({**named, "data_base64": _or_null({"type": "string", "pattern": _BASE64})}, required)


def _unknown(known: Sequence[str], attributes: Mapping[str, Schema]) -> Iterator[Schema]:
    named = {**attributes, "type": {"allOf": [attributes["type"], {"not": {"enum": list(known)}}]}}
    yield _kind({**named, "data": {}, "data_base64": _ABSENT}, REQUIRED)
    yield _kind({**named, "data": _ABSENT, "data_base64": {"type": "string", "pattern": _BASE64}}, REQUIRED)


def _kind(attributes: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    return {
        "type": "object",
        "properties": attributes,
        "required": list(required),
        "propertyNames": {"pattern": "^(?:[a-z0-9]{1,20}|data_base64)$"},
        "additionalProperties": reference(EXTENSION),
    }


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _takes_nothing(data: Any) -> bool:
    try:
        msgspec.json.decode(NO_DATA, type=data)
    except msgspec.ValidationError:
        return False
    return True
