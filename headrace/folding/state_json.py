"""The state of a row as JSON."""

from __future__ import annotations

import sys
from typing import TypeVar

import msgspec

from headrace.errors import HeadraceError
from headrace.events.json_numbers import written_out_exceeds

State = TypeVar("State")

_encoder = msgspec.json.Encoder(decimal_format="number")


class StateError(HeadraceError):
    """The state of a row cannot be decoded as the projection's type, cannot be encoded as JSON, or is too large."""


def encode_state(state: object, max_bytes: int = sys.maxsize) -> str:
    """Encode a row's state as JSON, with Decimals as numbers.

    Raises StateError, also for more than `max_bytes` when PostgreSQL writes its numbers without exponents.
    """
    try:
        encoded = _encoder.encode(state)
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"the handler's state cannot be encoded as JSON: {error}") from error
    if written_out_exceeds(encoded, max_bytes):
        raise StateError(f"the row's state would have more than {max_bytes} bytes of JSON (MAX_STATE_BYTES)")
    return encoded.decode()


def decode_state(decoder: msgspec.json.Decoder[State], text: str) -> State:
    """Decode a row's state from JSON. Raises StateError."""
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"the row's state cannot be decoded: {error}") from error
