"""A data type names its older shapes: what is refused, which shape data has, and how it is converted."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Event, OldShape, Projection
from headrace.errors import InvalidProjectionError
from headrace.events.data_decoder import ConversionError, DataDecoder
from headrace.events.topic_record import PastEvent, past_records
from headrace.folding.folding import Folding
from headrace.old_shapes import check_together

from tests.support.data.readings import (
    CelsiusReading,
    FahrenheitReading,
    Reading,
    from_celsius,
    from_fahrenheit,
    readings,
)


def projection(data: Any, event_type: str = "read") -> Projection[Any]:
    made: Projection[Any] = Projection("p", state=dict, key=lambda event: event.id, description="")
    made.on(event_type, data)(lambda state, event: state)
    return made


def newer(*old_shapes: Any, name: str = "Newer", members: Any = (("value", float),)) -> Any:
    """A data type with these older shapes."""
    return msgspec.defstruct(name, members, namespace={"old_shapes": old_shapes})


def past(data: Any, **attributes: Any) -> list[PastEvent]:
    envelope = {"specversion": "1.0", "id": "e", "source": "/s", "type": "read", "subject": "d", "data": data}
    return [PastEvent(1, 0, json.dumps({**envelope, "time": "2026-01-01T00:00:00Z", **attributes}))]


def folded(of: Projection[Any], data: Any, **attributes: Any) -> Any:
    """The data as a handler of the projection receives it; or the error with which its event is parked."""
    chosen, unreadable = Folding(of).choose(past_records(past(data, **attributes)))
    return unreadable[0].error if unreadable else chosen[0].event.data


async def never(old: CelsiusReading) -> Reading:
    return Reading(old.celsius)


def two(old: CelsiusReading, more: int) -> Reading:
    return Reading(old.celsius + more)


class Arrayed(msgspec.Struct, array_like=True):
    celsius: float


class Holder(msgspec.Struct):
    inner: Reading


class Inheriting(Reading):
    pass


CELSIUS: Any = CelsiusReading
DICT: Any = dict[str, Any]
SHAPE_OF_SHAPE: Any = newer(OldShape(CELSIUS, never, has="celsius"), members=[("kelvin", float)])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (newer(OldShape(CelsiusReading, from_celsius)), "give has or dataschema, or both"),
        (newer(OldShape(CelsiusReading, from_celsius, has="")), "has must be a non-empty string, not ''"),
        (newer(OldShape(CELSIUS, from_celsius, dataschema=1)), "dataschema must be a non-empty string"),  # type: ignore[arg-type]
        (newer(OldShape(CELSIUS, from_celsius, has="celsius", event_type="")), "event_type must be a non-empty"),
        (newer(OldShape(CelsiusReading, from_celsius, has="kelvin")), "CelsiusReading has no such member in JSON"),
        (newer(OldShape(Arrayed, from_celsius, has="celsius")), "Arrayed has no such member in JSON"),
        (newer(OldShape(DICT, from_celsius, has='a"b')), "cannot be used"),
        (newer(OldShape(CELSIUS, never, has="celsius")), "must not be async"),
        (newer(OldShape(CELSIUS, two, has="celsius")), r"must take 1 argument\(s\)"),  # type: ignore[arg-type]
        (newer(OldShape(CELSIUS, None, has="celsius")), "must be a function, not None"),  # type: ignore[arg-type]
        (newer(OldShape(object, from_celsius, has="celsius")), "cannot be read from JSON"),
        (newer(CelsiusReading), "old_shapes must be a tuple of OldShape"),
        (newer(OldShape(SHAPE_OF_SHAPE, lambda old: old, has="kelvin")), "must not be async"),
        (
            newer(OldShape(CELSIUS, from_celsius, has="celsius"), members=[("celsius", float)]),
            "Newer has such a member",
        ),
        (Holder, "the old_shapes of Reading are not applied there"),
        (list[Reading], "the old_shapes of Reading are not applied there"),
        (Inheriting, "Inheriting inherits the old_shapes of Reading"),
    ],
)
def test_older_shapes_that_cannot_work_are_refused_with_one_line(data: Any, said: str) -> None:
    with pytest.raises(InvalidProjectionError, match=said) as refused:
        projection(data)
    assert "\n" not in str(refused.value)


def test_a_member_that_a_newer_shape_of_the_chain_has_again_is_refused() -> None:
    oldest: Any = OldShape(CELSIUS, from_celsius, has="celsius")
    middle = newer(oldest, name="Middle", members=[("kelvin", float)])
    with pytest.raises(InvalidProjectionError, match="has='celsius', but Newest has such a member too"):
        projection(newer(OldShape(middle, lambda old: old, has="kelvin"), name="Newest", members=[("celsius", float)]))
    # Where dataschema decides too, that is no harm.
    both: Any = OldShape(CELSIUS, from_celsius, has="celsius", dataschema="urn:1")
    projection(newer(both, name="Again", members=[("celsius", float)]))


def test_a_circle_is_refused_also_if_it_is_closed_later() -> None:
    class First(msgspec.Struct):
        first: int

    class Second(msgspec.Struct):
        old_shapes: ClassVar = (OldShape(First, lambda old: Second(old.first), has="first"),)
        second: int

    made = projection(Second)
    First.old_shapes = (OldShape(Second, lambda old: First(old.second), has="second"),)  # type: ignore[attr-defined]
    for refused in (lambda: projection(Second), lambda: check_together([made])):
        with pytest.raises(InvalidProjectionError, match=r"circle \(Second, First, Second\)"):
            refused()


def test_an_event_type_without_such_a_handler_is_refused() -> None:
    data = newer(OldShape(CelsiusReading, from_celsius, has="celsius", event_type="raed"))
    with pytest.raises(InvalidProjectionError, match="event_type='raed' has no handler with this data type"):
        check_together([projection(data)])
    check_together([projection(newer(OldShape(CelsiusReading, from_celsius, has="celsius", event_type="read")))])


def test_a_member_of_the_data_may_be_called_old_shapes() -> None:
    @dataclasses.dataclass
    class Drawn:
        old_shapes: tuple[str, ...] = ()

    class Painted(msgspec.Struct):
        old_shapes: list[str] = []

    for data in (Drawn, Painted):
        assert folded(projection(data), {"old_shapes": ["circle"]}).old_shapes in (("circle",), ["circle"])


@pytest.mark.parametrize(
    ("data", "attributes", "expected"),
    [
        ({"value": 1.5}, {}, Reading(1.5)),
        ({"value": 1.5, "more": 1}, {}, Reading(1.5)),
        ({"celsius": 21}, {}, Reading(21.0)),
        ({"fahrenheit": 212}, {}, Reading(100.0)),
        ({"fahrenheit": 32}, {"dataschema": "urn:any"}, Reading(0.0)),
        ({"kelvin": 273.15}, {"dataschema": "urn:kelvin"}, Reading(0.0)),
        ({"kelvin": 273.15}, {}, "ValidationError: Object missing required field `value`"),
        ({"celsius": None}, {}, "ValidationError: as CelsiusReading: Expected `float`, got `null` - at `$.celsius`"),
        ([1], {}, "ValidationError: Expected `object`, got `array`"),
        ("celsius", {}, "ValidationError: Expected `object`, got `str`"),
        ({"celsius": -300}, {}, "ConversionError: from_celsius, from CelsiusReading to Reading: ValueError: too cold"),
        ({"celsius": 1e9}, {}, "ConversionError: from_celsius, from CelsiusReading to Reading: it returned NoneType"),
    ],
)
def test_data_is_converted_from_the_shape_that_it_has(data: Any, attributes: Any, expected: Any) -> None:
    assert folded(readings("p", "read"), data, **attributes) == expected


def test_a_member_counts_however_its_name_is_written() -> None:
    text = past({"celsius": 21})[0].text.replace('"celsius"', '"\\u0063elsius"')
    chosen, _ = Folding(readings("p", "read")).choose(past_records([PastEvent(1, 0, text)]))
    assert chosen[0].event.data == Reading(21.0)


def test_where_both_conditions_are_given_both_must_hold() -> None:
    data: Any = newer(OldShape(CELSIUS, lambda old: data(old.celsius), has="celsius", dataschema="urn:1"))
    of = projection(data)
    assert folded(of, {"celsius": 1}, dataschema="urn:1") == data(1.0)
    assert "missing required field `value`" in folded(of, {"celsius": 1}, dataschema="urn:2")
    assert "missing required field `value`" in folded(of, {"celsius": 1})
    assert folded(of, {"value": 1}, dataschema="urn:1") == data(1.0)


def test_the_first_shape_that_matches_is_used() -> None:
    def converting(place: int) -> OldShape[Any]:
        return OldShape(DICT, lambda _: data(place), has="old")

    data: Any = newer(*map(converting, range(3)))
    assert folded(projection(data), {"old": 1}) == data(0)


def test_an_event_type_limits_a_shape_to_its_events() -> None:
    data: Any = newer(OldShape(CELSIUS, lambda old: data(old.celsius), has="celsius", event_type="read"))
    of = projection(data)
    of.on("written", data)(lambda state, event: state)
    assert folded(of, {"celsius": 1}) == data(1.0)
    assert "missing required field `value`" in folded(of, {"celsius": 1}, type="written")
    assert folded(of, {"value": 1}, type="written") == data(1.0)
    assert folded(of, {"celsius": 1}) == data(1.0)


Number = TypeVar("Number")


class Generically(msgspec.Struct, Generic[Number]):
    old_shapes: ClassVar = (OldShape(CelsiusReading, lambda old: Generically(old.celsius), has="celsius"),)
    value: Number


def test_a_generic_data_type_may_have_older_shapes() -> None:
    assert folded(projection(Generically[float]), {"celsius": 2}) == Generically(2.0)


def test_a_failing_conversion_names_its_place_in_the_code_alone() -> None:
    _, (parked,) = Folding(readings("p", "read")).choose(past_records(past({"celsius": -300})))
    assert parked.traceback is not None
    (line,) = parked.traceback.splitlines()
    assert line.endswith("in from_celsius")


def test_an_interrupt_from_the_keyboard_passes() -> None:
    def interrupted(_: CelsiusReading) -> Reading:
        raise KeyboardInterrupt

    of = projection(newer(OldShape(CelsiusReading, interrupted, has="celsius")))
    with pytest.raises(KeyboardInterrupt):
        folded(of, {"celsius": 1})


def test_the_key_is_computed_from_the_newest_shape() -> None:
    of: Projection[Any] = Projection("p", state=dict, key=lambda event: f"{event.data.value:.0f}", description="")

    @of.on("read", Reading)
    def read(_: Any, event: Event[Reading]) -> Any:
        return {"value": event.data.value}

    assert Folding(of).keys(past({"fahrenheit": 212})) == {1: ("100", "d")}


def test_shapes_of_each_step_are_checked() -> None:
    decoder = DataDecoder(Reading, "read")
    assert decoder.decode(b'{"fahrenheit": 212}', None) == from_celsius(from_fahrenheit(FahrenheitReading(212)))
    with pytest.raises(ConversionError, match="from_celsius"):
        decoder.decode(b'{"fahrenheit": -1e6}', None)


steps = st.lists(st.tuples(st.integers(-5, 5), st.sampled_from(["has", "dataschema", "both"])), max_size=8)


@given(steps, st.data())
def test_a_chain_of_shapes_decodes_as_converting_by_hand(chain: list[tuple[int, str]], draw: st.DataObject) -> None:
    """Shape n has the member `m{n}`; a conversion to the next shape adds its number."""
    shapes: list[Any] = []
    for place in range(len(chain) + 1):
        old: list[OldShape[Any]] = []
        if place:
            added, by = chain[place - 1]
            has = None if by == "dataschema" else f"m{place - 1}"
            dataschema = None if by == "has" else f"urn:{place - 1}"

            def convert(old: Any, place: int = place, added: int = added) -> Any:
                return shapes[place](getattr(old, f"m{place - 1}") + added)

            old = [OldShape(shapes[-1], convert, has=has, dataschema=dataschema)]
        shapes.append(newer(*old, name=f"Shape{place}", members=[(f"m{place}", int)]))
    of = projection(shapes[-1])
    at, value = draw.draw(st.integers(0, len(chain))), draw.draw(st.integers(-100, 100))
    expected = shapes[-1](value + sum(added for added, _ in chain[at:]))
    assert folded(of, {f"m{at}": value, "more": 1}, dataschema=f"urn:{at}") == expected
