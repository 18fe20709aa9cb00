"""Known types have a schema; what does not fit is told with a pointer."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest

from headrace.events.envelope import Limits, ParsedEvent, parse_event
from headrace.events.known_types import EventTypes
from headrace.projection import Projection


class Measured(msgspec.Struct):
    needs_subject: ClassVar[bool] = True

    value: float
    tags: list[str] = []


projection: Projection[Measured] = Projection("p", state=Measured, key=lambda event: event.id, description="")
projection.on("measured", Measured)(lambda state, event: state)


def event(event_type: str = "measured", data: str | None = '{"value":1}', subject: str | None = "s") -> ParsedEvent:
    members = ['"specversion":"1.0","id":"1","source":"/s"', f'"type":"{event_type}"']
    members += [f'"subject":"{subject}"'] if subject else []
    members += [f'"data":{data}'] if data else []
    return parse_event(("{" + ",".join(members) + "}").encode(), Limits(), "2026-01-01T00:00:00Z")


def test_what_fits_is_taken() -> None:
    assert EventTypes([projection]).errors(event(data='{"value":1e3,"tags":["a"],"more":1}')) == ()


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ('{"value":"1"}', "/data/value"),
        ("{}", "/data/value"),
        ("[]", "/data"),
        ("null", "/data"),
        (None, "/data/value"),
        ('{"value":1,"tags":["a",2]}', "/data/tags/1"),
    ],
)
def test_what_does_not_fit_is_told_with_its_pointer(data: str | None, pointer: str) -> None:
    (error,) = EventTypes([projection]).errors(event(data=data))
    assert (error.pointer, error.code) == (pointer, "invalid_data")


def test_a_type_that_needs_a_subject_is_refused_without_one() -> None:
    (error,) = EventTypes([projection]).errors(event(subject=None))
    assert (error.pointer, error.code) == ("/subject", "missing_subject")


def test_unknown_types_are_taken_unless_the_setting_refuses_them() -> None:
    unknown = event("something.else", data=None)
    assert EventTypes([projection]).errors(unknown) == ()
    (error,) = EventTypes([projection], refuse_unknown=True).errors(unknown)
    assert (error.pointer, error.code) == ("/type", "unknown_type")


class Anything(msgspec.Struct):
    """A type of a user whose own check raises whatever it likes."""

    value: Any
    by_name: dict[str, float] = {}

    def __post_init__(self) -> None:
        raise ZeroDivisionError(self.value)


any_projection: Projection[Measured] = Projection("any", state=Measured, key=lambda event: event.id, description="")
any_projection.on("measured", Anything)(lambda state, event: state)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5_000, "1e131071", "1e-16383", "0." + "1" * 9_000])
@pytest.mark.parametrize("shape", ['{{"value":{}}}', "{}", '{{"value":1,"by_name":{{"a":1,"b/c":{}}}}}'])
@pytest.mark.parametrize("of", [projection, any_projection], ids=["float", "raising"])
def test_a_number_that_a_type_cannot_hold_never_raises(of: Projection[Measured], shape: str, number: str) -> None:
    errors = EventTypes([of]).errors(event(data=shape.format(number)))
    assert all(error.code == "invalid_data" and error.pointer.startswith("/data") for error in errors)


def test_a_number_out_of_the_range_of_a_double_has_a_pointer() -> None:
    (error,) = EventTypes([projection]).errors(event(data='{"value":1e400,"tags":["a"]}'))
    assert (error.pointer, error.code) == ("/data/value", "invalid_data")


def test_an_error_of_a_data_type_itself_is_a_misfit_and_names_its_kind() -> None:
    (error,) = EventTypes([any_projection]).errors(event(data='{"value":1}'))
    assert (error.pointer, error.code) == ("/data", "invalid_data")
    assert "ZeroDivisionError" in error.detail
