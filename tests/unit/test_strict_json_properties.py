"""Properties of strict JSON: valid texts come back, and nothing but valid texts is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events import strict_json
from headrace.events.strict_json import InvalidJson

DEPTH = 64
PROPERTY = settings(max_examples=80, deadline=None)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from('abé"\\'), inner, max_size=3),
    max_leaves=8,
)
styles = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n")])


@PROPERTY
@given(st.dictionaries(st.text('ab é"\\\n\u2028', max_size=4), json_values), styles, st.booleans())
def test_valid_json_comes_back_as_it_was(value: dict[str, Any], style: tuple[str, str], ascii_only: bool) -> None:
    sent = json.dumps(value, separators=style, ensure_ascii=ascii_only)
    text, members = strict_json.members(sent.encode(), DEPTH)
    assert json.loads(text) == value
    assert {name: json.loads(bytes(raw)) for name, raw in members.items()} == value
    assert all(bytes(raw).decode() in sent for raw in members.values())


PIECES = [*'{}[]":,\\eE5.-+ \n0', "\\u0000", "\\u0001", "\\ud83d", "\\ude00", "\\\\u0000", "\\u00e9", "\0", "é", "😀"]
PIECES += ['"a"', '"a":1', "e99999", "1e5", "[[[[", "]]]]", "NaN", "true", "\x7f", "\u2028", "0" * 120]


@st.composite
def nearly_json(draw: st.DrawFn) -> str:
    """The text of an object with pieces put in and characters taken out."""
    text = json.dumps({"a": draw(json_values)}, ensure_ascii=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(PIECES)) + text[place + draw(st.integers(0, 3)) :]
    return text


@PROPERTY
@given(nearly_json())
def test_it_accepts_exactly_what_the_standard_library_and_the_rules_allow(text: str) -> None:
    try:
        expected = set(allowed_members(text, max_depth=5))
    except ValueError:
        expected = None
    try:
        found: set[str] | None = set(strict_json.members(text.encode(), 5)[1])
    except InvalidJson:
        found = None
    assert found == expected


def allowed_members(text: str, max_depth: int) -> Iterator[str]:
    """The names in an object that keeps the rules, read by other means than the product's."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    value = json.loads(text, object_pairs_hook=tuple, parse_constant=refuse, parse_int=number, parse_float=number)
    if not isinstance(value, tuple) or len(dict(value)) < len(value):
        raise ValueError
    check(value, max_depth)
    return iter(dict(value))


def number(text: str) -> None:
    """Raise ValueError for a number that jsonb cannot hold, or with an exponent of more than seven digits."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError from None
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if abs(exponent) >= 10**7 or exponent < -16_383 or (value and value.adjusted() >= 131_072):
        raise ValueError


def check(value: object, levels: int) -> None:
    """Raise ValueError for NUL, half a surrogate pair, or too deep a value. Objects are tuples of (name, value)."""
    if isinstance(value, str):
        value.encode()
        if "\0" in value:
            raise ValueError
    elif isinstance(value, list | tuple):
        if levels == 0:
            raise ValueError
        inner = value if isinstance(value, list) else [part for pair in value for part in pair]
        for part in inner:
            check(part, levels - 1)
