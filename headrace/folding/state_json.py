"""The state of a row as JSON."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from headrace.errors import HeadraceError

State = TypeVar("State")

_encoder = msgspec.json.Encoder(decimal_format="number")


class StateError(HeadraceError):
    """The state of a row cannot be decoded as the projection's type, or cannot be encoded as JSON."""


def encode_state(state: object) -> str:
    """Encode a row's state as JSON, with Decimals as numbers. Raises StateError."""
    try:
        return _encoder.encode(state).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"the handler's state cannot be encoded as JSON: {error}") from error


def decode_state(decoder: msgspec.json.Decoder[State], text: str) -> State:
    """Decode a row's state from JSON. Raises StateError."""
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"the row's state cannot be decoded: {error}") from error
