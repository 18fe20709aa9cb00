"""A state's JSON is the same in each process, and can be read again; what cannot be is refused when it is written."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any, TypedDict

import msgspec
import pytest

from headrace.events.topic_record import PastEvent
from headrace.folding.folding import Folding
from headrace.folding.row_cache import MAX_BYTES, CachedRow, RowCache
from headrace.folding.row_history import RowHistory
from headrace.folding.state_json import StateError, StateJson
from headrace.projection import Event, Projection

from tests.support.data.numbers_projection import record


class Tags(msgspec.Struct):
    tags: set[str]
    count: int | None = None


class Plain(TypedDict):
    n: float | None


OF_SET = """
from headrace.folding.state_json import StateJson
print(StateJson(set[str]).encode({str(n) for n in range(50)}))
"""


def test_a_set_is_written_alike_by_each_process() -> None:
    texts = {
        subprocess.run(
            [sys.executable, "-c", OF_SET], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_a_set_that_was_written_in_another_order_is_the_same_state() -> None:
    json = StateJson[Tags](Tags)
    assert json.same('{"tags":["b","a"],"count":null}', '{"tags":["a","b"],"count":null}')
    assert not json.same('{"tags":["b","a"],"count":null}', '{"tags":["a","c"],"count":null}')


class Unset(msgspec.Struct):
    n: int


@pytest.mark.parametrize(
    ("declared", "state"),
    [
        (Tags, Tags({"a"}, "one")),  # type: ignore[arg-type]
        (Plain, {"n": float("inf")}),
        (Plain, {"n": "one"}),
        (dict[str, float], {"n": float("nan")}),
        (dict[str, Any], {"n": [None, {"m": float("-inf")}]}),
        (Decimal, Decimal("NaN")),
        (list[Decimal], [Decimal("Infinity")]),
        (list[int], (1, "2")),
    ],
    ids=repr,
)
def test_what_cannot_be_read_again_is_refused(declared: Any, state: Any) -> None:
    with pytest.raises(StateError):
        StateJson[Any](declared).encode(state)


def test_a_state_without_a_member_is_refused() -> None:
    state = Unset(1)
    del state.n
    with pytest.raises(StateError):
        StateJson[Unset](Unset).encode(state)


@pytest.mark.parametrize(
    ("declared", "state", "text"),
    [
        (Plain, {"n": None}, '{"n":null}'),
        (dict[str, float], {"n": 2}, '{"n":2}'),
        (dict[str, Any], {"n": [None, 1.5]}, '{"n":[null,1.5]}'),
        (list[Decimal], [Decimal("1.50")], "[1.50]"),
    ],
    ids=repr,
)
def test_what_can_be_read_again_is_written(declared: Any, state: Any, text: str) -> None:
    assert StateJson[Any](declared).encode(state) == text


class Total(msgspec.Struct):
    numbers: list[float]


def totals() -> Projection[Total]:
    projection = Projection("totals", state=Total, key=lambda event: event.subject or "", description="…")

    @projection.on("numbered", dict)
    def numbered(total: Total | None, event: Event[dict[str, Any]]) -> Total:
        total = total or Total([])
        number = event.data["number"]
        total.numbers.append(float(number))
        if number == 3:
            raise ValueError("three")
        return total

    return projection


@pytest.mark.parametrize("at_once", [1, 2, 10])
@pytest.mark.parametrize("wrong", [3, "inf"])
def test_a_past_state_has_nothing_of_an_event_that_fails(at_once: int, wrong: object) -> None:
    row = RowHistory(Folding(totals()), "a")
    numbers: list[Any] = [1, 2, wrong, 4]
    events = [PastEvent(at, 0, record(at, number).decode()) for at, number in enumerate(numbers, start=1)]
    for first in range(0, len(events), at_once):
        row.add(events[first : first + at_once])
    assert (row.state(), row.position, row.events) == ('{"numbers":[1.0,2.0]}', 2, 2)


def test_a_cache_of_rows_is_bounded_by_bytes() -> None:
    cache: RowCache[str] = RowCache()
    for number in range(100):
        cache.remember(str(number), CachedRow("", 1, 1, MAX_BYTES // 10))
        cache.reach({})
    assert cache.missing(str(number) for number in range(100)) == sorted(str(number) for number in range(91))
    cache.remember("99", CachedRow("", 1, 1, 1))
    cache.forget()
    cache.remember("a", CachedRow("", 1, 1, MAX_BYTES - 1))
    cache.reach({})
    assert cache.missing(["a"]) == []


def test_a_state_of_the_limit_is_written_and_a_larger_one_raises() -> None:
    text = StateJson[str](str)
    assert text.encode("x" * 998, 1_000) == f'"{"x" * 998}"'
    with pytest.raises(StateError, match="more than 1000 bytes"):
        text.encode("x" * 999, 1_000)


def test_a_number_counts_with_all_its_digits() -> None:
    numbers = StateJson[list[Decimal]](list[Decimal])
    assert numbers.encode([Decimal("1E+900")], 1_000) == "[1E+900]"
    for number in (Decimal("1E+1000"), Decimal("1E-1000")):
        with pytest.raises(StateError, match="MAX_STATE_BYTES"):
            numbers.encode([number], 1_000)
