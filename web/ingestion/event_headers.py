"""The `ce-` headers of an event in binary mode, as in section 3.1.3 of the CloudEvents HTTP binding 1.0.2."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from headrace.events.envelope import EnvelopeError, InvalidEnvelope
from headrace.events.strict_json import pointer_to

PREFIX = b"ce-"

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_ESCAPED = re.compile(rb"\\(.)")
_PRINTABLE = re.compile(rb"[\x20-\x7e]*+")
_LONE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def has_attributes(raw_headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether any header is an attribute of an event in binary mode."""
    return any(name[: len(PREFIX)].lower() == PREFIX for name, _ in raw_headers)


def read_attributes(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The attributes by name, their values decoded. Raises InvalidEnvelope with an error for each wrong header."""
    attributes: dict[str, str] = {}
    errors: list[EnvelopeError] = []
    for header, raw in raw_headers:
        if header[: len(PREFIX)].lower() != PREFIX:
            continue
        name = header[len(PREFIX) :].decode("ascii", "replace").lower()
        if name in attributes:
            errors.append(EnvelopeError(pointer_to(name), "duplicate_header", "its header is given more than once"))
            continue
        attributes[name] = ""
        try:
            attributes[name] = _decode(raw)
        except UnicodeDecodeError:
            errors.append(EnvelopeError(pointer_to(name), "invalid_utf8", "must be UTF-8, percent-encoded"))
        except ValueError as error:
            errors.append(EnvelopeError(pointer_to(name), "invalid_header", str(error)))
    if errors:
        raise InvalidEnvelope(errors)
    return attributes


def _decode(raw: bytes) -> str:
    """Remove double quotes around the value, if any, then decode its percent-encoding once.

    Raises UnicodeDecodeError, or ValueError with what is wrong.
    """
    if raw.startswith(b'"'):
        if _QUOTED.fullmatch(raw) is None:
            raise ValueError("has a double quote at the start, and no matching one at the end")
        raw = _ESCAPED.sub(rb"\1", raw[1:-1])
    if _PRINTABLE.fullmatch(raw) is None:
        raise ValueError("must be printable ASCII; other characters are UTF-8, percent-encoded")
    if _LONE_PERCENT.search(raw) is not None:
        raise ValueError("has a % without two hexadecimal digits; the percent sign itself is %25")
    return unquote_to_bytes(raw).decode()
