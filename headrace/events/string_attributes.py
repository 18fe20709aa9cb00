"""The attributes of an event that are strings, and how they are decoded together."""

from __future__ import annotations

from typing import Any, TypedDict, cast

import msgspec


class _Required(TypedDict):
    specversion: str
    id: str
    source: str
    type: str


class _Strings(_Required, total=False):
    """An optional attribute that is null is absent, as the JSON format says."""

    subject: str | None
    time: str | None
    datacontenttype: str | None
    dataschema: str | None
    partitionkey: str | None
    data_base64: str | None


STRINGS: msgspec.json.Decoder[dict[str, str | None]] = msgspec.json.Decoder(cast("Any", _Strings))
REQUIRED = frozenset(_Required.__annotations__)
NAMES = tuple(_Strings.__annotations__)
KNOWN = frozenset({*NAMES, "data"})
