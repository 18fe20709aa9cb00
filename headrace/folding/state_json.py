"""The state of a row as JSON."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from headrace.errors import HeadraceError

State = TypeVar("State")

_encoder = msgspec.json.Encoder(decimal_format="number")


class StateError(HeadraceError):
    """The state of a row cannot be read as the projection's, or cannot be written as JSON."""


def encode_state(state: object) -> str:
    """A row's state as JSON; Decimals as numbers. Raises StateError."""
    try:
        return _encoder.encode(state).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"the handler's state cannot be written as JSON: {error}") from error


def decode_state(decoder: msgspec.json.Decoder[State], text: str) -> State:
    """A row's state from its JSON. Raises StateError."""
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"the row's state cannot be read: {error}") from error
