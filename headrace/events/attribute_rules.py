"""Rules for the attributes of a CloudEvent: those of CloudEvents 1.0.2, and some that are stricter."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Literal

import msgspec

Code = Literal[
    "empty_attribute",
    "invalid_type",  # another JSON type than that of the attribute
    "invalid_attribute_name",
    "unsupported_specversion",
    "invalid_media_type",
    "invalid_uri",
    "invalid_base64",
    "control_character",  # or a noncharacter: CloudEvents allows neither in a string
    "too_long",
]
Violation = tuple[Code, str] | None
"""The error of a value, or None. The detail repeats nothing of the value."""

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]++"  # noqa: S105 - a token of RFC 9110
_MEDIA_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}(?:[ \t]*+;[ \t]*+{_TOKEN}=(?:{_TOKEN}|"(?:[^"\\]|\\.)*+"))*+')
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:\S++")
_NONCHARACTERS = "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
_NOT_ALLOWED = re.compile(f"[\0-\x1f\x7f-\x9f\ufdd0-\ufdef{_NONCHARACTERS}]")
_CONTROL_CHARACTER: Violation = ("control_character", "must not contain control characters or Unicode noncharacters")

_NAME = re.compile(r"[a-z0-9]{1,20}")
_INTEGER = re.compile(rb"-?[0-9]{1,10}")
_INT32 = range(-(2**31), 2**31)
_STRING = msgspec.json.Decoder(str)
_WORDS = (b"true", b"false", b"null")


def _characters(value: str) -> Violation:
    return _CONTROL_CHARACTER if _NOT_ALLOWED.search(value) else None


def _name(value: str, max_bytes: int) -> Violation:
    if value.isascii() and value.isprintable() and 0 < len(value) <= max_bytes:
        return None
    if not value:
        return "empty_attribute", "must not be empty"
    if len(value.encode()) > max_bytes:
        return "too_long", f"must be at most {max_bytes} bytes of UTF-8"
    return _characters(value)


def _source(value: str, max_bytes: int) -> Violation:
    # A URI reference has no spaces, but sources in use do: only a blank source is refused.
    return ("empty_attribute", "must not be blank") if value.isspace() else _name(value, max_bytes)


def _specversion(value: str, _max_bytes: int) -> Violation:
    return None if value == "1.0" else ("unsupported_specversion", 'must be "1.0"')


def _media_type(value: str, _max_bytes: int) -> Violation:
    if _MEDIA_TYPE.fullmatch(value) is None:
        return "invalid_media_type", "must be a media type such as application/json"
    return _characters(value)


def _uri(value: str, _max_bytes: int) -> Violation:
    if _ABSOLUTE_URI.fullmatch(value) is None:
        return "invalid_uri", "must be an absolute URI"
    return _characters(value)


def _base64(value: str, _max_bytes: int) -> Violation:
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return "invalid_base64", "must be base64 (RFC 4648, section 4) with its padding"
    return None


RULES: dict[str, Callable[[str, int], Violation]] = {
    "specversion": _specversion,
    "id": _name,
    "source": _source,
    "type": _name,
    "subject": _name,
    "datacontenttype": _media_type,
    "dataschema": _uri,
    "partitionkey": _name,
    "data_base64": _base64,
}
"""For each string attribute except `time`: from its value and the most bytes allowed, the error or None."""


def wrong_extension(name: str, raw: bytes) -> Violation:
    """The error of an extension attribute, or None. Its value is JSON text: a string, boolean, int32 or null."""
    if _NAME.fullmatch(name) is None:
        lower = name.lower()
        hint = f'; write "{lower}"' if lower in RULES or lower in {"time", "data"} else ""
        return "invalid_attribute_name", f"attribute names have 1 to 20 lower-case letters or digits{hint}"
    if raw.startswith(b'"'):
        return _characters(_STRING.decode(raw))
    if raw in _WORDS or (_INTEGER.fullmatch(raw) and int(raw) in _INT32):
        return None
    return "invalid_type", "must be a string, a boolean or a 32-bit integer"
