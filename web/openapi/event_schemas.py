"""The CloudEvents that ingestion accepts, as JSON Schema.

The description says what JSON Schema cannot: limits count bytes of UTF-8, and NUL is refused anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.events.envelope import Limits
from headrace.projection import Projection
from web.openapi.document import REFERENCE, Schema, reference
from web.openapi.shape_schemas import DataForms

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
_NOTHING: Schema = {"not": {}}
_BINARY: Schema = {"type": "string", "pattern": _BASE64}


def event_schemas(
    projections: Iterable[Projection[Any]], limits: Limits, *, refuse_unknown: bool, accept_old_shapes: bool = False
) -> Mapping[str, Schema]:
    """By name: an event, a batch, and the schemas that they refer to; known types have the data of the projections."""
    data_forms: dict[str, list[DataForms]] = {}
    needs_subject: set[str] = set()
    for projection in projections:
        for event_type, subscription in projection.by_type.items():
            form = DataForms(subscription.data, event_type, accept_old_shapes=accept_old_shapes)
            data_forms.setdefault(event_type, []).append(form)
            if getattr(subscription.data, "needs_subject", False):
                needs_subject.add(event_type)
    described = [type_ for forms in data_forms.values() for form in forms for type_ in form.types]
    schemas, components = msgspec.json.schema_components(described, ref_template=REFERENCE)
    schema_of = dict(zip(described, schemas, strict=True))
    attributes = _attributes(limits)
    kinds: list[Schema] = []
    for event_type, forms in data_forms.items():
        named = {**attributes, "type": {"const": event_type}}
        required = list(REQUIRED)
        if event_type in needs_subject:
            named["subject"] = attributes["id"]
            required.append("subject")
        kinds += _known(forms, schema_of, named, required)
    if not refuse_unknown:
        kinds += _unknown(list(data_forms), attributes)
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
    forms: Sequence[DataForms], schema_of: Mapping[Any, Schema], named: Mapping[str, Schema], required: Sequence[str]
) -> Iterator[Schema]:
    """The schemas of a known type. An event without data is read as an event whose data is an empty object."""
    plain = [schema for form in forms if (schema := form.plain(schema_of)) is not None]
    fits = plain[0] if len(plain) == 1 else {"allOf": plain} if plain else {}
    with_data = [form.with_data(schema_of) for form in forms if form.plain(schema_of) is None]
    yield _kind({**named, "data": fits, "data_base64": _ABSENT}, [*required, "data"], with_data)
    without = [schema for form in forms if (schema := form.without_data()) is not None]
    if len(without) == len(forms):
        shaped = without if with_data else ()
        yield _kind({**named, "data": _NOTHING, "data_base64": _ABSENT}, required, shaped)
        yield _kind({**named, "data": _ABSENT, "data_base64": _BINARY}, [*required, "data_base64"], shaped)


def _unknown(known: Sequence[str], attributes: Mapping[str, Schema]) -> Iterator[Schema]:
    named = {**attributes, "type": {"allOf": [attributes["type"], {"not": {"enum": list(known)}}]}}
    yield _kind({**named, "data": {}, "data_base64": _ABSENT}, REQUIRED)
    yield _kind({**named, "data": _ABSENT, "data_base64": _BINARY}, REQUIRED)


def _kind(attributes: Mapping[str, Schema], required: Sequence[str], also: Sequence[Schema] = ()) -> Schema:
    return {
        **({"allOf": list(also)} if also else {}),
        "type": "object",
        "properties": attributes,
        "required": list(required),
        "propertyNames": {"pattern": "^(?:[a-z0-9]{1,20}|data_base64)$"},
        "additionalProperties": reference(EXTENSION),
    }


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}
