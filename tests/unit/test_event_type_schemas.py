"""The JSON Schema that is served is what the door enforces, and every misfit has a pointer that leads to it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.projections.devices import devices
from agents.projections.event_types import event_types
from agents.projections.readings_hourly import readings_hourly
from headrace.events.envelope import Limits, ParsedEvent, parse_event
from headrace.events.known_types import DIALECT, EventTypes
from headrace.events.misfit_pointer import detail_of, pointer_to_misfit
from headrace.projection import Projection

TYPES = EventTypes([devices, readings_hourly, event_types])
NAMES = sorted(TYPES.known)
RECEIVED_AT = "2026-11-22T12:00:00Z"
# What no schema can say: NUL and lone surrogates are refused anywhere.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
members = st.sampled_from(["name", "model", "metric", "value", "unit", "reason", "more"])
data_of_any_kind = st.dictionaries(members, anything | text | numbers, max_size=4) | anything

some_text = text | st.sampled_from(["", "n" * 255, "n" * 256, "😀" * 255, "😀" * 256])
likely_data = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["name", "metric"], some_text),
        **dict.fromkeys(["model", "unit", "reason"], some_text | st.none()),
        "value": numbers | st.integers(10**300, 10**310) | st.booleans() | some_text,
    },
)


def event(event_type: str, data: Any) -> ParsedEvent:
    envelope = {"specversion": "1.0", "id": "1", "source": "/s", "type": event_type, "subject": "d", "data": data}
    return parse_event(json.dumps(envelope).encode(), Limits(), RECEIVED_AT)


def test_the_types_of_the_contract_are_known() -> None:
    assert NAMES == ["device.registered", "device.retired", "reading.recorded"]
    for known in TYPES.known.values():
        assert known.needs_subject
        assert known.schema["$schema"] == DIALECT
        jsonschema.Draft202012Validator.check_schema(known.schema)


@given(st.sampled_from(NAMES), likely_data | data_of_any_kind)
def test_the_schema_and_the_door_agree(name: str, data: Any) -> None:
    accepted = jsonschema.Draft202012Validator(TYPES.known[name].schema).is_valid(data)
    errors = TYPES.errors(event(name, data))
    assert (errors == ()) == accepted
    for error in errors:
        assert error.pointer == "/data" or error.pointer.startswith("/data/")


@pytest.mark.parametrize(
    ("name", "data", "accepted"),
    [
        ("device.registered", {"name": "n" * 255, "model": None, "more": 1}, True),
        ("device.registered", {"name": "😀" * 255}, True),
        ("device.registered", {"name": "n" * 256}, False),
        ("device.registered", {"name": ""}, False),
        ("device.registered", {}, False),
        ("device.retired", {}, True),
        ("device.retired", None, False),
        ("device.retired", {"reason": 1}, False),
        ("reading.recorded", {"metric": "t", "value": -1.5e308, "unit": ""}, True),
        ("reading.recorded", {"metric": "t", "value": 10**309}, False),
        ("reading.recorded", {"metric": "t", "value": "1"}, False),
        ("reading.recorded", {"metric": "t", "value": True}, False),
        ("reading.recorded", {"metric": "t", "value": None}, False),
    ],
)
def test_the_schema_and_the_door_agree_at_the_edges(name: str, data: Any, *, accepted: bool) -> None:
    assert jsonschema.Draft202012Validator(TYPES.known[name].schema).is_valid(data) == accepted
    assert (TYPES.errors(event(name, data)) == ()) == accepted


class Inner(msgspec.Struct):
    value: int


class Outer(msgspec.Struct):
    inner: Inner | None = None
    dotted: int = msgspec.field(default=0, name="a.b")
    slashed: int = msgspec.field(default=0, name="a/b~c")
    readings: dict[str, int] = {}
    nested: dict[str, list[Inner]] = {}
    pair: tuple[int, str] = (0, "")


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ("[]", "/data"),
        ('{"inner": {}}', "/data/inner/value"),
        ('{"inner": {"value": "x"}}', "/data/inner/value"),
        ('{"a.b": "x"}', "/data/a.b"),
        ('{"a/b~c": "x"}', "/data/a~1b~0c"),
        ('{"readings": {"one": 1, "t/x": "warm", "three": 3}}', "/data/readings/t~1x"),
        ('{"readings": []}', "/data/readings"),
        ('{"nested": {"a": [{"value": 1}], "b": [{"value": 1}, {"value": null}]}}', "/data/nested/b/1/value"),
        ('{"nested": {"a": [{}]}}', "/data/nested/a/0/value"),
        ('{"pair": [1, 2]}', "/data/pair/1"),
        ('{"pair": [1]}', "/data/pair"),
    ],
)
def test_a_pointer_leads_to_the_member_itself(data: str, pointer: str) -> None:
    check = msgspec.json.Decoder(Outer).decode
    with pytest.raises(msgspec.ValidationError) as misfit:
        check(data)
    message = str(misfit.value)
    assert pointer_to_misfit(message, data.encode(), check) == pointer
    assert "`$" not in detail_of(message)


def test_two_projections_may_ask_for_more_than_one() -> None:
    class Left(msgspec.Struct):
        left: int

    class Right(msgspec.Struct):
        right: int

    one: Projection[Left] = Projection("one", state=Left, key=lambda event: event.id, description="")
    two: Projection[Left] = Projection("two", state=Left, key=lambda event: event.id, description="")
    one.on("both", Left)(lambda state, event: state)
    two.on("both", Right)(lambda state, event: state)
    types = EventTypes([one, two])
    validator = jsonschema.Draft202012Validator(types.known["both"].schema)
    for data in ({"left": 1}, {"right": 1}, {"left": 1, "right": 1}, {"left": 1, "right": "x"}):
        assert validator.is_valid(data) == (types.errors(event("both", data)) == ())
