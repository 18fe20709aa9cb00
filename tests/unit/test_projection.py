"""What a projection does with which type of event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar

import msgspec
import pytest

from headrace.projection import Event, Field, Projection


class Count(msgspec.Struct, frozen=True):
    n: int


class Labelled(Count, frozen=True):
    label: str = ""


class Renamed(msgspec.Struct, frozen=True, rename="camel"):
    how_many: int


Size = TypeVar("Size")


class Sized(msgspec.Struct, Generic[Size], frozen=True):
    n: Size
    label: str


@dataclass
class CountedThing:
    n: int


@dataclass
class LabelledThing(CountedThing):
    label: str


class CountMembers(TypedDict):
    n: int


class LabelledMembers(CountMembers):
    label: str


class Thing(msgspec.Struct, frozen=True):
    size: int = 1


def make_projection() -> Projection[Count]:
    return Projection("counts", state=Count, key=lambda event: event.type, description="How many there are.")


def add_size(count: Count | None, event: Event[Thing]) -> Count:
    return Count((count.n if count else 0) + event.data.size)


def add_one(count: Count | None, _event: Event[msgspec.Raw]) -> Count:
    return Count((count.n if count else 0) + 1)


def test_a_handler_is_found_by_the_type_of_the_event() -> None:
    projection = make_projection()
    projection.on("thing.happened", Thing)(add_size)
    subscription = projection.subscription("thing.happened")
    assert subscription is not None
    assert (subscription.data, subscription.handler) == (Thing, add_size)


def test_a_decorated_handler_stays_the_function_that_it_was() -> None:
    projection = make_projection()
    assert projection.on("thing.happened", Thing)(add_size) is add_size
    assert projection.on_every_other_event(add_one) is add_one


def test_events_of_other_types_are_not_minded() -> None:
    projection = make_projection()
    projection.on("thing.happened", Thing)(add_size)
    assert projection.subscription("thing") is None


def test_every_other_event_goes_to_the_handler_for_them_with_its_data_undecoded() -> None:
    projection = make_projection()
    projection.on_every_other_event(add_one)
    projection.on("thing.happened", Thing)(add_size)
    other, known = projection.subscription("unknown"), projection.subscription("thing.happened")
    assert other is not None
    assert known is not None
    assert (other.data, other.handler) == (msgspec.Raw, add_one)
    assert known.handler is add_size


def test_a_second_handler_for_a_type_is_refused() -> None:
    projection = make_projection()
    projection.on("thing.happened", Thing)(add_size)
    with pytest.raises(ValueError, match=r"projection counts: two handlers for thing\.happened"):
        projection.on("thing.happened", Thing)(add_size)


def test_one_handler_may_take_several_types() -> None:
    projection = make_projection()
    projection.on("thing.happened", Thing)(projection.on("thing.came", Thing)(add_size))
    assert set(projection.by_type) == {"thing.happened", "thing.came"}


def test_projections_do_not_share_handlers_or_fields() -> None:
    one, other = make_projection(), make_projection()
    one.on("thing.happened", Thing)(add_size)
    assert other.subscription("thing.happened") is None
    assert other.fields == {}


def test_declared_fields_are_kept() -> None:
    fields = {"n": Field("number")}
    projection = Projection("counts", state=Count, key=lambda event: event.type, description="", fields=fields)
    assert projection.fields == fields


def with_fields(state: type[object], *names: str) -> Projection[object]:
    fields = {name: Field("text") for name in names}
    return Projection("counts", state=state, key=lambda event: event.type, description="", fields=fields)


@pytest.mark.parametrize("state", [Labelled, Sized[int], LabelledThing, LabelledMembers])
def test_a_field_may_be_any_member_of_the_state_inherited_or_not(state: type[object]) -> None:
    assert list(with_fields(state, "label", "n").fields) == ["label", "n"]


@pytest.mark.parametrize("state", [Labelled, LabelledThing, LabelledMembers])
def test_the_fields_that_the_state_does_not_have_are_named_and_no_others(state: type[object]) -> None:
    with pytest.raises(
        ValueError, match=r"^projection counts: no such members of its state: m, k \(it has label, n\)$"
    ):
        with_fields(state, "m", "n", "k")


def test_a_field_is_named_as_in_the_json_of_the_state() -> None:
    assert list(with_fields(Renamed, "howMany").fields) == ["howMany"]
    with pytest.raises(ValueError, match=r"how_many \(it has howMany\)"):
        with_fields(Renamed, "how_many")


def test_a_state_without_members_has_no_fields() -> None:
    assert with_fields(dict).fields == {}
    with pytest.raises(ValueError, match=r"n \(it has none\)"):
        with_fields(dict, "n")


def test_two_handlers_for_every_other_event_are_refused() -> None:
    projection = make_projection()
    projection.on_every_other_event(lambda state, _: state)
    with pytest.raises(ValueError, match="every other event"):
        projection.on_every_other_event(lambda state, _: state)


def test_an_event_cannot_be_changed() -> None:
    event = Event(1, "i", "/s", "thing.happened", None, "2026-01-31T12:00:00Z", Thing())
    with pytest.raises(AttributeError, match="immutable"):
        event.position = 2  # type: ignore[misc]


def test_a_handler_is_a_function_that_can_be_called_by_itself() -> None:
    projection = make_projection()
    handler = projection.on("thing.happened", Thing)(add_size)
    event = Event(1, "i", "/s", "thing.happened", None, "2026-01-31T12:00:00Z", Thing(size=3))
    assert handler(handler(None, event), event) == Count(6)
