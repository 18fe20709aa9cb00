"""The state of a row as JSON."""

from __future__ import annotations

import math
import sys
from typing import Any, Generic, TypeVar, get_origin, is_typeddict

import msgspec

from headrace.errors import HeadraceError
from headrace.events.json_numbers import written_out_exceeds
from headrace.folding.plain_states import PlainStates

State = TypeVar("State")

# Sets in order of their values: their own order differs from process to process.
_encoder = msgspec.json.Encoder(decimal_format="number", order="deterministic")


NOT_FINITE = "the handler's state has an infinite number or NaN, which JSON cannot hold"


class StateError(HeadraceError):
    """The state of a row cannot be decoded as the projection's type, cannot be encoded as JSON, or is too large."""


class StateJson(Generic[State]):
    """Encodes and decodes the states of one projection. A text that `encode` returns can be decoded."""

    def __init__(self, state: Any) -> None:
        self._class = _class_of(state)
        self._numbers = _members_of_numbers(state)
        self._plain = PlainStates.of(state)
        self._name = getattr(state, "__qualname__", None) or repr(state)
        self._decoder: msgspec.json.Decoder[State] = msgspec.json.Decoder(state)

    def encode(self, state: State, max_bytes: int = sys.maxsize) -> str:
        """A state as JSON, with Decimals as numbers.

        Raises StateError if it cannot be encoded, is not of the projection's type, or has an infinite number or NaN.
        Also if it has more than `max_bytes` when PostgreSQL writes its numbers without exponents.
        """
        try:
            encoded = _encoder.encode(state)
            # No wrong state is blamed on the next event. Decoding costs a few µs for each row.
            if self._plain is None or not self._plain.can_be_decoded(state, encoded):
                self._check(state, encoded)
            _check_size(encoded, max_bytes)
            return encoded.decode()
        except (KeyboardInterrupt, StateError):
            raise
        except BaseException as error:
            raise StateError(f"the handler's state cannot be encoded as JSON: {error}") from error

    def decode(self, text: str) -> State:
        """A state from JSON. Raises StateError."""
        try:
            return self._decoder.decode(text)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a `__post_init__` may raise anything
            raise StateError(f"the row's state cannot be decoded: {error}") from error

    def check_result(self, result: object) -> None:
        """Check the class of a handler's result and its own members that are floats. Raises StateError.

        `encode` finds what is wrong at any depth. But events that are folded together are encoded once, after the last.
        """
        if not isinstance(result, self._class):
            kind = type(result).__qualname__
            raise StateError(f"the handler's result is not of the type {self._name}: it is a {kind}")
        for name in self._numbers:
            number = getattr(result, name)
            if isinstance(number, float) and not math.isfinite(number):
                raise StateError(NOT_FINITE)

    def same(self, one: str, other: str) -> bool:
        """Whether two texts are the same state, whatever the order of its sets."""
        try:
            return self.encode(self.decode(one)) == self.encode(self.decode(other))
        except StateError:
            return False

    def _check(self, state: State, encoded: bytes) -> None:
        try:
            decoded = self._decoder.decode(encoded)
        except msgspec.MsgspecError as error:
            raise StateError(f"the handler's result is not of the type {self._name}: {error}") from error
        if encoded.find(b"null") >= 0 and decoded != state and _has_non_finite(msgspec.to_builtins(state)):
            raise StateError(NOT_FINITE)


def _check_size(encoded: bytes, max_bytes: int) -> None:
    if written_out_exceeds(encoded, max_bytes):
        raise StateError(f"the row's state would have more than {max_bytes} bytes of JSON (MAX_STATE_BYTES)")


def _class_of(state: Any) -> type:
    origin = get_origin(state)
    if isinstance(origin, type):
        return origin
    return state if isinstance(state, type) and not is_typeddict(state) else object


def _members_of_numbers(state: Any) -> list[str]:
    members = getattr(msgspec.inspect.type_info(state), "fields", ()) if _class_of(state) is state else ()
    return [member.name for member in members if "FloatType(" in repr(member.type)]


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_has_non_finite(one) for pair in value.items() for one in pair)
    return isinstance(value, list | tuple | set | frozenset) and any(_has_non_finite(one) for one in value)
