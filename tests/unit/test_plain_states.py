"""Plain states: what is in is decoded as it was encoded, so decoding it is no check."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.folding.plain_states import PlainStates
from headrace.folding.state_json import StateJson


class Plain(msgspec.Struct):
    text: Any
    number: Any
    exact: Any
    is_on: Any = False


class Typed(msgspec.Struct):
    text: str | None
    number: int
    exact: Decimal
    is_on: bool = False


class Other(Typed):
    pass


class Checked(Typed):
    def __post_init__(self) -> None:
        raise ValueError


class Limited(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(max_length=3)]
    number: int


class Nested(msgspec.Struct):
    text: str
    typed: Typed


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.text(), st.binary(), st.lists(st.integers())
)


@given(VALUES, VALUES, VALUES, VALUES)
def test_a_plain_state_is_decoded_as_it_was_encoded(text: Any, number: Any, exact: Any, is_on: Any) -> None:
    plain, state = PlainStates.of(Typed), Typed(text, number, exact, is_on)
    assert plain is not None
    try:
        encoded = msgspec.json.Encoder(decimal_format="number").encode(state)
    except (TypeError, UnicodeEncodeError):
        return
    for _ in range(2):  # the second time the classes are known
        if plain.can_be_decoded(state, encoded):
            states: StateJson[Typed] = StateJson(Typed)
            assert states.decode(states.encode(state)) == state


def test_ordinary_states_are_plain() -> None:
    plain = PlainStates.of(Typed)
    assert plain is not None
    assert can_be_decoded(plain, Typed(None, 1, Decimal("2.50")))
    assert can_be_decoded(plain, Typed("a", 10**30, Decimal(2), is_on=True))
    assert not can_be_decoded(plain, Typed("a", 1, Decimal("NaN")))
    assert not can_be_decoded(plain, Typed("a", 1, Decimal("-Infinity")))
    assert not can_be_decoded(plain, Typed("a", True, Decimal(1)))
    assert not can_be_decoded(plain, Other("a", 1, Decimal(1)))


def can_be_decoded(plain: PlainStates, state: Typed) -> bool:
    encoded = msgspec.json.Encoder(decimal_format="number").encode(state)
    return plain.can_be_decoded(state, encoded)


@pytest.mark.parametrize("state", [Plain, Checked, Limited, Nested, dict[str, int], int])
def test_other_types_have_no_plain_states(state: Any) -> None:
    assert PlainStates.of(state) is None
