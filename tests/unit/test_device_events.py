"""What the `data` of a device's events may be. The door takes the place of an error from the end of its message."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from agents.projections.device_events import DeviceRegistered, DeviceRetired, ReadingRecorded


def read(value: str) -> ReadingRecorded:
    return msgspec.json.decode(f'{{"metric": "t", "value": {value}}}', type=ReadingRecorded)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ('"21"', "str"),
        ('"NaN"', "str"),
        ("true", "bool"),
        ("false", "bool"),
        ("null", "null"),
        ("[1]", "array"),
        ("{}", "object"),
    ],
)
def test_a_value_that_is_no_number_is_refused(value: str, kind: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        read(value)
    assert str(refused.value) == f"Expected `number`, got `{kind}` - at `$.value`"


@pytest.mark.parametrize("value", ["1.7976931348623158e308", "-1e309", "1e400", "9" * 400, "1e99999999999"])
def test_a_value_that_no_double_holds_is_refused(value: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"that a double can hold .* - at `\$\.value`$"):
        read(value)


@pytest.mark.parametrize("value", ["1e999999999999999999999", "NaN", "Infinity", "01", "+1", ".5"])
def test_a_value_that_is_malformed_or_absurd_is_refused(value: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(value)


@pytest.mark.parametrize("value", ["1.7976931348623157e308", "-1.7976931348623157e308", "5e-324", "1e-400", "0e9999"])
def test_a_value_at_the_edge_is_taken(value: str) -> None:
    assert read(value).value == Decimal(value)


@pytest.mark.parametrize("value", ["1e-16383", "1E-1101", "0." + "0" * 1_100 + "1", "0e-1101"])
def test_a_value_of_more_digits_than_any_double_is_refused(value: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"at most 1100 digits after the point - at `\$\.value`$"):
        read(value)


@pytest.mark.parametrize("value", ["1e-1100", "0." + "1" * 1_100, f"{Decimal.from_float(5e-324):f}"])
def test_a_value_of_as_many_digits_as_a_double_is_taken(value: str) -> None:
    assert read(value).value == Decimal(value)


@pytest.mark.parametrize(("value", "same"), [("-0", "0"), ("-0.0", "0.0"), ("-0e0", "0"), ("-0.50", "-0.50")])
def test_a_value_of_minus_zero_is_zero(value: str, same: str) -> None:
    assert str(read(value).value) == same


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ('{"metric": "", "value": 1}', "$.metric"),
        (f'{{"metric": "{"x" * 256}", "value": 1}}', "$.metric"),
        ('{"metric": 5, "value": 1}', "$.metric"),
        ('{"metric": "t", "value": 1, "unit": 5}', "$.unit"),
        (f'{{"metric": "t", "value": 1, "unit": "{"x" * 256}"}}', "$.unit"),
        ('{"metric": "t"}', "`value`"),
        ('{"value": 1}', "`metric`"),
    ],
)
def test_a_reading_that_does_not_fit_is_refused_and_the_place_is_named(data: str, path: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(data, type=ReadingRecorded)
    assert path in str(refused.value)


def test_members_of_a_reading_that_are_null_or_unknown_are_let_through() -> None:
    data = msgspec.json.decode('{"metric": "t", "value": 1, "unit": null, "quality": 3}', type=ReadingRecorded)
    assert (data.metric, data.value, data.unit) == ("t", Decimal(1), None)


def test_the_schema_says_that_a_value_is_a_number() -> None:
    schema: Any = msgspec.json.schema_components([ReadingRecorded])[1]["ReadingRecorded"]
    limit = sys.float_info.max
    assert schema["properties"]["value"] == {"type": "number", "minimum": -limit, "maximum": limit}
    assert schema["required"] == ["metric", "value"]


@pytest.mark.parametrize(
    ("data_type", "data", "path"),
    [
        (DeviceRegistered, "{}", "name"),
        (DeviceRegistered, '{"name": ""}', "$.name"),
        (DeviceRegistered, f'{{"name": "{"x" * 256}"}}', "$.name"),
        (DeviceRegistered, '{"name": null}', "$.name"),
        (DeviceRegistered, '{"name": "A", "model": 5}', "$.model"),
        (DeviceRegistered, f'{{"name": "A", "model": "{"x" * 256}"}}', "$.model"),
        (DeviceRegistered, "null", "object"),
        (DeviceRetired, '{"reason": true}', "$.reason"),
        (DeviceRetired, f'{{"reason": "{"x" * 256}"}}', "$.reason"),
    ],
)
def test_data_of_a_device_that_does_not_fit_is_refused_and_the_place_is_named(
    data_type: Any, data: str, path: str
) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(data, type=data_type)
    assert path in str(refused.value)


def test_the_longest_texts_are_taken() -> None:
    text = "ü" * 255
    registered = msgspec.json.decode(f'{{"name": "{text}", "model": "{text}"}}', type=DeviceRegistered)
    assert registered == DeviceRegistered(text, text)


def test_members_of_a_device_that_are_null_or_unknown_are_let_through() -> None:
    assert msgspec.json.decode('{"name": "A", "model": null, "colour": [1]}', type=DeviceRegistered).model is None
    assert msgspec.json.decode('{"reason": null, "by": {}}', type=DeviceRetired).reason is None


@pytest.mark.parametrize("data_type", [DeviceRegistered, ReadingRecorded, DeviceRetired])
def test_events_of_a_device_need_a_subject(data_type: Any) -> None:
    assert data_type.needs_subject is True
