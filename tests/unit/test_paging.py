"""Query strings of pages, and cursors."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.projection import Field, Projection
from tables.projections.pages import FieldCondition, Place, Sort
from web.requests.paging import PageParameters, PageRequest
from web.server.problems import Problem


class Thing(msgspec.Struct):
    color: str
    weight: int
    made: str
    day: str = ""
    is_on: bool = False
    sizes: dict[str, float] = {}


def things(name: str = "things") -> PageParameters:
    fields = {"color": Field("text"), "weight": Field("number"), "made": Field("time")}
    fields |= {"day": Field("date"), "is_on": Field("boolean"), "sizes.width": Field("number")}
    return PageParameters(
        Projection(name, state=Thing, key=lambda event: event.source, description="Things.", fields=fields)
    )


THINGS = things()
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
places = st.builds(Place, st.none() | texts, texts)
FILTERS = {"color": "red", "color[prefix]": "r", "weight[gte]": "1", "made[lt]": "2026-01-01T00:00:00Z"}
queries = st.builds(
    lambda names, sort: {name: FILTERS[name] for name in names} | sort,
    st.sets(st.sampled_from(sorted(FILTERS))),
    st.sampled_from([{}, {"sort": "color"}, {"sort": "-color"}]),
)


def read(**parameters: str) -> PageRequest:
    return THINGS.read(urlencode(parameters))


def refusal(query_string: str, parameters: PageParameters = THINGS) -> tuple[str | None, str, str]:
    with pytest.raises(Problem) as caught:
        parameters.read(query_string)
    (error,) = caught.value.errors
    return error.parameter, error.code, error.detail


def test_nothing_given_is_the_first_fifty_by_key() -> None:
    asked = THINGS.read("")
    assert (asked.limit, asked.conditions, asked.sort, asked.after) == (50, [], None, None)


@pytest.mark.parametrize("limit", ["1", "7", "1000"])
def test_a_limit_may_be_1_to_1000(limit: str) -> None:
    assert read(limit=limit).limit == int(limit)


@pytest.mark.parametrize("limit", ["", "0", "-1", "+1", "1001", "1_0", "1e3", "1.0", " 1", "1\n", "٢", "²", "1" * 5000])
def test_any_other_limit_is_refused(limit: str) -> None:
    parameter, code, detail = refusal(urlencode({"limit": limit}))
    assert (parameter, code) == ("limit", "invalid_value")
    assert "1 to 1000" in detail


@pytest.mark.parametrize(
    ("query_string", "condition"),
    [
        ("color=red", FieldCondition("color", "text", "eq", "red")),
        ("color=", FieldCondition("color", "text", "eq", "")),
        ("color", FieldCondition("color", "text", "eq", "")),
        ("color=a+b%2Bc%26%3D%25", FieldCondition("color", "text", "eq", "a b+c&=%")),
        ("color=%C3%A9%F0%9F%98%80", FieldCondition("color", "text", "eq", "é😀")),
        ("color[ne]=red", FieldCondition("color", "text", "ne", "red")),
        ("color%5Bprefix%5D=r%2C", FieldCondition("color", "text", "prefix", "r,")),
        ("color[in]=red,,blue", FieldCondition("color", "text", "in", ["red", "", "blue"])),
        ("weight=-1.50e%2B3", FieldCondition("weight", "number", "eq", "-1.50e+3")),
        ("weight[lte]=" + "9" * 30, FieldCondition("weight", "number", "lte", "9" * 30)),
        ("weight[in]=1,2.5", FieldCondition("weight", "number", "in", ["1", "2.5"])),
        ("day[lte]=2024-02-29", FieldCondition("day", "date", "lte", "2024-02-29")),
        ("day[in]=2024-02-29,2026-01-01", FieldCondition("day", "date", "in", ["2024-02-29", "2026-01-01"])),
        ("is_on=true", FieldCondition("is_on", "boolean", "eq", "true")),
        ("is_on[ne]=false", FieldCondition("is_on", "boolean", "ne", "false")),
        ("sizes.width[gt]=1", FieldCondition(("sizes", "width"), "number", "gt", "1")),
        ("key=", FieldCondition((), "text", "eq", "")),
        ("key=a/b", FieldCondition((), "text", "eq", "a/b")),
        ("key[prefix]=dev-", FieldCondition((), "text", "prefix", "dev-")),
        ("key[in]=a,b", FieldCondition((), "text", "in", ["a", "b"])),
        ("made[gt]=2026-01-01T01:00:00.50%2B01:00", FieldCondition("made", "time", "gt", "2026-01-01T00:00:00.5")),
    ],
)
def test_a_filter_is_a_field_and_perhaps_an_operator(query_string: str, condition: FieldCondition) -> None:
    assert THINGS.read(query_string).conditions == [condition]


def test_several_filters_of_one_field_all_count() -> None:
    operators = [condition.operator for condition in THINGS.read("weight[gte]=1&weight[lt]=5&weight[ne]=3").conditions]
    assert operators == ["gte", "lt", "ne"]


@pytest.mark.parametrize(
    "value",
    ["", "1_0", "0x1", "01", ".5", "1.", "+1", "-", "NaN", "Infinity", "true", "1 ", "٢", "1e99999", "9" * 1001, '"1"'],
)
def test_what_json_does_not_call_a_number_is_refused(value: str) -> None:
    parameter, code, detail = refusal(urlencode({"weight[in]": f"1,{value}"}))
    assert (parameter, code) == ("weight[in]", "invalid_value")
    assert "JSON" in detail


@pytest.mark.parametrize(
    "value", ["", "now", "infinity", "0000-00-00", "2026-01-01", "2026-02-30T00:00:00Z", "2026-01-01 00:00:00Z"]
)
def test_what_rfc_3339_does_not_call_a_time_is_refused(value: str) -> None:
    parameter, code, detail = refusal(urlencode({"made": value}))
    assert (parameter, code) == ("made", "invalid_value")
    assert "RFC 3339" in detail


@pytest.mark.parametrize(
    "value", ["", "today", "2026-1-31", "20260131", "2026-02-30", "2026-W05-6", "0000-01-01", "2026-01-01T00:00:00Z"]
)
def test_what_is_no_date_is_refused(value: str) -> None:
    parameter, code, detail = refusal(urlencode({"day": value}))
    assert (parameter, code) == ("day", "invalid_value")
    assert "2026-01-31" in detail


@pytest.mark.parametrize("name", ["is_on", "is_on[ne]", "total"])
@pytest.mark.parametrize("value", ["", "True", "1", "yes", "null"])
def test_what_is_no_boolean_is_refused(name: str, value: str) -> None:
    assert refusal(urlencode({name: value})) == (name, "invalid_value", "A boolean is true or false.")


def test_a_total_is_counted_only_if_it_is_asked_for_and_its_cursors_are_those_of_the_query() -> None:
    assert not read().with_total
    assert not read(total="false").with_total
    asked = read(total="true", color="red")
    assert asked.with_total
    assert read(color="red", cursor=asked.cursor(Place(None, "k"))).after == Place(None, "k")


class Counted(msgspec.Struct):
    key: int
    total: int


def test_fields_named_key_and_total_are_filtered_by() -> None:
    fields = {"key": Field("number"), "total": Field("number")}
    parameters = PageParameters(
        Projection("counted", state=Counted, key=lambda event: event.source, description="", fields=fields)
    )
    asked = parameters.read("key=1&total=2")
    assert asked.conditions == [
        FieldCondition("key", "number", "eq", "1"),
        FieldCondition("total", "number", "eq", "2"),
    ]
    assert not asked.with_total
    assert refusal("key[prefix]=a", parameters)[1] == "unknown_parameter"
    cursor = asked.cursor(Place(None, "k"))
    assert refusal(urlencode({"key": "1", "total": "3", "cursor": cursor}), parameters)[1] == "invalid_cursor"


def test_a_plus_that_the_url_turned_into_a_space_is_explained() -> None:
    assert "%2B" in refusal("made=2026-01-01T00:00:00+01:00")[2]


@pytest.mark.parametrize(
    "name",
    [
        "colour",
        "color[eq]",
        "color[]",
        "color[gt][lt]",
        "color[GT]",
        "weight[prefix]",
        "offset",
        "key[eq]",
        "__class__",
    ],
)
def test_an_unknown_parameter_is_told_what_is_allowed(name: str) -> None:
    parameter, code, detail = refusal(urlencode({name: "1"}))
    assert (parameter, code) == (name, "unknown_parameter")
    for allowed in ("limit", "cursor", "sort", "color (text)", "weight (number)", "made (time)", "gte", "prefix"):
        assert allowed in detail


@pytest.mark.parametrize("name", ["limit", "sort", "cursor", "color", "weight[gt]"])
def test_a_repeated_parameter_is_refused(name: str) -> None:
    value = {"limit": "1", "sort": "color"}.get(name, "1")
    assert refusal(urlencode([(name, value), (name, value)]))[:2] == (name, "repeated_parameter")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Problem) as caught:
        THINGS.read("limit=0&sort=size&weight=heavy&x=1&color=red")
    assert sorted(str(error.parameter) for error in caught.value.errors) == ["limit", "sort", "weight", "x"]


@pytest.mark.parametrize("query_string", ["color=%ff", "color=%ed%a0%80", "%ff=1", "color=\udcff", "color=%c3"])
def test_bytes_that_are_not_utf8_are_refused(query_string: str) -> None:
    assert refusal(query_string)[1] == "invalid_utf8"


@pytest.mark.parametrize("query_string", ["color=%00", "color=a%00b", "a%00=1", "sort=%00", "cursor=%00"])
def test_nul_is_refused(query_string: str) -> None:
    assert refusal(query_string)[1] == "nul_character"


def test_a_flood_of_parameters_is_refused() -> None:
    assert refusal("&".join(f"p{number}=1" for number in range(1000)))[1] == "too_many_parameters"


@pytest.mark.parametrize(
    ("value", "sort"),
    [("color", Sort("color", "text", descending=False)), ("-weight", Sort("weight", "number", descending=True))],
)
def test_pages_are_sorted_by_a_field_in_either_direction(value: str, sort: Sort) -> None:
    assert read(sort=value).sort == sort


@pytest.mark.parametrize("value", ["", "-", "size", "--color", "color,weight", "+color", "color desc"])
def test_sorting_by_anything_else_is_told_what_is_allowed(value: str) -> None:
    parameter, code, detail = refusal(urlencode({"sort": value}))
    assert (parameter, code) == ("sort", "invalid_value")
    assert "color, weight, made" in detail


def test_a_field_that_hides_a_parameter_is_refused_at_start() -> None:
    class Hiding(msgspec.Struct):
        limit: int

    fields = {"limit": Field("number")}
    with pytest.raises(ValueError, match="limit"):
        Projection("hiding", state=Hiding, key=lambda event: event.source, description="", fields=fields)


@given(queries, places, st.integers(1, 1000))
def test_a_cursor_leads_the_same_query_on_whatever_its_limit(query: dict[str, str], end: Place, limit: int) -> None:
    assume("sort" in query or end.sort_value is None)
    cursor = read(**query).cursor(end)
    again = read(**dict(reversed(query.items())), cursor=cursor, limit=str(limit))
    assert again.after == end
    assert again.limit == limit
    assert cursor == quote(cursor, safe="")


@given(places, queries, queries)
def test_a_cursor_is_refused_by_any_other_query(end: Place, query: dict[str, str], other: dict[str, str]) -> None:
    assume(query != other)
    cursor = read(**query).cursor(end)
    assert refusal(urlencode({**other, "cursor": cursor}))[:2] == ("cursor", "invalid_cursor")


def test_a_cursor_is_refused_by_another_projection() -> None:
    cursor = THINGS.read("").cursor(Place(None, "k"))
    assert refusal(f"cursor={cursor}", things("other_things"))[1] == "invalid_cursor"


@given(places, st.data())
def test_a_cursor_with_any_character_changed_is_refused(end: Place, data: st.DataObject) -> None:
    cursor = read(sort="color").cursor(end)
    index = data.draw(st.integers(0, len(cursor) - 1))
    character = data.draw(st.sampled_from("ABab01-_=+/ .é"))
    assume(cursor[index] != character)
    changed = cursor[:index] + character + cursor[index + 1 :]
    assert refusal(urlencode({"sort": "color", "cursor": changed}))[:2] == ("cursor", "invalid_cursor")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=100) | st.just("AAAA===="))
def test_garbage_is_no_cursor(cursor: str) -> None:
    assert refusal(urlencode({"cursor": cursor}))[:2] == ("cursor", "invalid_cursor")


@pytest.mark.parametrize(
    ("sort", "end"),
    [
        ("weight", Place("heavy", "k")),
        ("is_on", Place("maybe", "k")),
        ("weight", Place("NaN", "k")),
        ("weight", Place("1e99999", "k")),
        ("color", Place("\0", "k")),
        ("color", Place("red", "\0")),
        (None, Place("red", "k")),
    ],
)
def test_a_forged_cursor_with_what_postgresql_cannot_read_is_refused(sort: str | None, end: Place) -> None:
    query = {} if sort is None else {"sort": sort}
    cursor = read(**query).cursor(end)
    assert refusal(urlencode({**query, "cursor": cursor}))[:2] == ("cursor", "invalid_cursor")
