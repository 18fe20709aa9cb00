"""A projection that cannot work is refused where it is declared, with one line that says what is wrong."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest

from headrace.declared import check_together
from headrace.errors import InvalidProjectionError
from headrace.projection import Event, Field, Projection

from tests.support.servers.worker_process import ROOT


class Reading(msgspec.Struct, frozen=True):
    value: Decimal
    text: str


class Ordered(msgspec.Struct, frozen=True, order=True):
    n: int


class Color(Enum):
    RED = "red"


class TextColor(str, Enum):  # noqa: UP042 - what users write
    RED = "red"


class Unknown:
    """A class that JSON does not have."""


class Point(NamedTuple):
    x: int
    y: int


class Size(TypedDict):
    width: int


@dataclass
class Place:
    name: str


class State(msgspec.Struct, frozen=True, rename={"dotted": "a.b"}):
    n: int = 0
    text: str = ""
    made: datetime | None = None
    day: date | None = None
    is_on: bool = False
    latest: dict[str, Reading] = {}
    last: Reading | None = None
    size: Size | None = None
    place: Place | None = None
    anything: Any = None
    dotted: int = 0


class Tree(msgspec.Struct, frozen=True):
    children: list[Tree] = []
    names: frozenset[str] = frozenset()


def declare(name: Any = "things", **options: Any) -> Projection[Any]:
    given: dict[str, Any] = {"state": State, "key": lambda event: event.id, "description": "Things.", **options}
    return Projection(name, **given)


def refusal(name: Any = "things", **options: Any) -> str:
    with pytest.raises(InvalidProjectionError) as refused:
        declare(name, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ["things", "Things-2", "a.b", "_", "9", "x" * 100])
def test_a_name_that_a_url_can_hold_is_taken(name: str) -> None:
    assert declare(name).name == name


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "changes", ".", "..", ".a", "-a", "a b", "a\n", "türen", "a?b", "a%62", "\0", "\ud800", "x" * 101, 7],
)
def test_a_name_that_no_url_reaches_is_refused(name: Any) -> None:
    assert "it is part of URLs" in refusal(name)


def test_two_projections_of_one_name_are_refused_together() -> None:
    check_together([declare("a"), declare("b")])
    with pytest.raises(InvalidProjectionError, match="projection a: two projections have this name"):
        check_together([declare("a"), declare("b"), declare("a")])


def of_factory(name: str) -> Projection[Any]:
    class Local(msgspec.Struct, frozen=True):
        n: int = 0

    projection = declare(name)
    projection.on(f"{name}.happened", Local)(lambda state, _: state)
    return projection


def test_types_that_cannot_be_told_apart_are_refused_together() -> None:
    with pytest.raises(InvalidProjectionError, match=r"two types of one module have the name \S+Local"):
        check_together([of_factory("a"), of_factory("b")])


async def coroutine(_: Any, __: Any = None) -> Any: ...


async def stream(_: Any, __: Any = None) -> AsyncIterator[Any]:
    yield None


def generator(_: Any, __: Any = None) -> Iterator[Any]:
    yield None


class Callable:
    async def __call__(self, _: Any, __: Any = None) -> Any: ...


@functools.wraps(coroutine)
def wrapped(*arguments: Any) -> Any:
    return coroutine(*arguments)


NO_FUNCTIONS: list[tuple[Any, str]] = [
    (coroutine, "must not be async"),
    (functools.partial(coroutine), "must not be async"),
    (Callable(), "must not be async"),
    (stream, "must not be async"),
    (wrapped, "must not be async"),
    (generator, "not yield it"),
    ("subject", "must be a function"),
    (lambda: None, "must take"),
]


@pytest.mark.parametrize(("function", "text"), NO_FUNCTIONS)
def test_what_cannot_be_called_for_a_result_is_refused(function: Any, text: str) -> None:
    assert text in refusal(key=function)
    assert text in refusal(fed_by=function)
    projection = declare()
    with pytest.raises(InvalidProjectionError, match=text):
        projection.on("happened", Reading)(function)
    with pytest.raises(InvalidProjectionError, match=text):
        projection.on_every_other_event(function)


@pytest.mark.parametrize("event_type", ["", "x" * 256, None])
def test_a_type_that_no_event_has_is_refused(event_type: Any) -> None:
    with pytest.raises(InvalidProjectionError, match="an event type is a text"):
        declare().on(event_type, Reading)(lambda state, _: state)


@pytest.mark.parametrize("data", [Unknown, list[Unknown], Reading | Ordered])
def test_data_that_cannot_be_read_is_refused(data: Any) -> None:
    with pytest.raises(InvalidProjectionError, match="the data of happened cannot be read from JSON"):
        declare().on("happened", data)(lambda state, _: state)


@pytest.mark.parametrize("state", [Unknown, dict[str, Unknown], Reading | Ordered])
def test_a_state_that_cannot_be_read_is_refused(state: Any) -> None:
    assert "its state cannot be read from JSON" in refusal(state=state)


@pytest.mark.parametrize("state", [dict[int, str], dict[str | int, str], dict[str, dict[Literal[1], str]]])
def test_a_dict_whose_keys_are_no_texts_is_refused(state: Any) -> None:
    assert "keys are not texts" in refusal(state=state)


UNORDERED: list[Any] = [
    set[Reading],
    set[Color],
    set[int | str],
    set[str | None],
    set[Literal["a", 1]],
    frozenset[frozenset[int]],
    dict[str, list[set[tuple[int, Reading]]]],
]


@pytest.mark.parametrize("state", UNORDERED)
def test_a_set_whose_values_have_no_order_is_refused(state: Any) -> None:
    assert "a set whose values have no order" in refusal(state=state)


ORDERED: list[Any] = [
    State, Tree, Place, Size, int, dict, dict[TextColor, int], Point,
    set[int | float], set[Decimal], set[date], set[UUID], set[TextColor], set[Literal["a", "b"]], set[tuple[int, str]],
    set[Ordered], set[str], set[Any], set[bytes],
]  # fmt: skip


@pytest.mark.parametrize("state", ORDERED)
def test_a_state_that_is_always_stored_alike_is_taken(state: Any) -> None:
    assert declare(state=state).state is state


def test_an_unknown_kind_of_field_is_refused() -> None:
    kind: Any = "texts"
    assert refusal(fields={"text": Field(kind)}).endswith(
        "field text: no kind 'texts' (text, number, time, date, boolean)"
    )


@pytest.mark.parametrize("name", ["limit", "cursor", "sort", "source", "id", "wait", "-n", "n[gte]", "", "a\0"])
def test_a_field_that_no_query_can_name_is_refused(name: str) -> None:
    assert "no URL reaches it" in refusal(fields={name: Field("text")}, state=dict[str, Any])


@pytest.mark.parametrize(
    ("name", "kind", "member"),
    [
        ("n", "number", "n"),
        ("made", "time", "made"),
        ("text", "time", "text"),
        ("day", "date", "day"),
        ("text", "date", "text"),
        ("is_on", "boolean", "is_on"),
        ("n", "text", "n"),
        ("latest.temperature.value", "number", ("latest", "temperature", "value")),
        ("last.text", "text", ("last", "text")),
        ("size.width", "number", ("size", "width")),
        ("place.name", "text", ("place", "name")),
        ("anything.at.all", "boolean", ("anything", "at", "all")),
        ("a.b", "number", "a.b"),
    ],
)
def test_a_field_is_a_member_or_a_member_of_a_member(name: str, kind: Any, member: str | tuple[str, ...]) -> None:
    assert declare(fields={name: Field(kind)}).members == {name: member}


@pytest.mark.parametrize("name", ["latest.temperature.unit", "n.m", "last.", ".last", "size.height", "lost.n", "a.c"])
def test_a_field_that_leads_nowhere_is_refused(name: str) -> None:
    assert f"no such members of its state: {name} (it has " in refusal(fields={name: Field("text")})


@pytest.mark.parametrize(
    ("name", "kind"),
    [("text", "number"), ("n", "time"), ("is_on", "number"), ("day", "time")],
)
def test_a_field_whose_member_never_has_a_value_of_its_kind_is_refused(name: str, kind: Any) -> None:
    assert f"field {name} can never be a {kind}" in refusal(fields={name: Field(kind)})


OF_TEXTS = {"text": Field("text"), "n": Field("text"), "last.text": Field("text"), "anything": Field("text")}


@pytest.mark.parametrize(
    ("subject", "member"), [(None, None), ("key", ()), ("text", "text"), ("last.text", ("last", "text"))]
)
def test_the_subject_of_a_row_is_its_key_or_a_text(subject: str | None, member: Any) -> None:
    assert declare(fields=OF_TEXTS, subject=subject).subject_member == member


@pytest.mark.parametrize("subject", ["", "made", "key ", 1, "Text"])
def test_a_subject_that_is_neither_the_key_nor_a_field_is_refused(subject: Any) -> None:
    assert f"subject={subject!r} is not one of key, text, n" in refusal(fields=OF_TEXTS, subject=subject)


@pytest.mark.parametrize("subject", ["n", "anything"])
def test_a_subject_that_may_be_no_text_is_refused(subject: str) -> None:
    assert "it says whose row it is" in refusal(fields=OF_TEXTS, subject=subject)


def test_a_subject_of_another_kind_is_refused() -> None:
    assert "must be a field of the kind text" in refusal(fields={"text": Field("time")}, subject="text")


def test_a_subject_that_could_be_the_key_or_a_field_is_refused() -> None:
    state = msgspec.defstruct("Keyed", [("key", str)])
    found = refusal(fields={"key": Field("text")}, state=state, subject="key")
    assert "there is a field of this name too" in found


def test_an_event_type_is_checked_before_its_handler_is_kept() -> None:
    projection = declare()

    @projection.on("happened", Reading)
    def happened(state: State | None, event: Event[Reading]) -> State | None:
        return state

    assert projection.by_type["happened"].handler is happened


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("from agents.projections.devices import devices; devices.name = 'event_types'", "two projections have this"),
        ("from headrace import declared; declared.RESERVED_NAMES = {'devices'}", "projection 'devices': a name has"),
    ],
)
def test_an_app_with_a_wrong_projection_ends_with_one_line(before: str, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"{before}; from app import app"],
        cwd=ROOT,
        env={"DATABASE_URL": "postgresql://nowhere/", "MQTT_URL": "off"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headrace: projection ")
    assert said in line
