"""The parameters of a query string: values, defaults, and the order of errors."""

from __future__ import annotations

import pytest

from web.requests.query_parameters import DEFAULT_LIMIT, QueryParameters, refuse_parameters
from web.server.problems import Problem

NAMES = frozenset({"limit", "size", "color"})


def errors_of(parameters: QueryParameters) -> list[tuple[str | None, str]]:
    with pytest.raises(Problem) as caught:
        parameters.check()
    assert (caught.value.status, caught.value.code) == (400, "invalid_query")
    return [(error.parameter, error.code) for error in caught.value.errors]


def test_values_are_parsed_and_absent_parameters_have_their_defaults() -> None:
    parameters = QueryParameters("size=7", NAMES, "Allowed are some.")
    assert (parameters.value("size", int, 0), parameters.value("color", str, "red")) == (7, "red")
    assert parameters.limit() == DEFAULT_LIMIT
    parameters.check()


def test_errors_are_of_names_first_then_of_values_as_they_were_sent_then_the_rest() -> None:
    parameters = QueryParameters("size=x&shape=round&limit=0&color=red&color=blue", NAMES, "Allowed are some.")
    parameters.note("color", "missing_parameter", "It needs a shape.")
    assert parameters.limit() == DEFAULT_LIMIT
    assert parameters.value("size", int, 5) == 5
    assert errors_of(parameters) == [
        ("shape", "unknown_parameter"),
        ("color", "repeated_parameter"),
        ("size", "invalid_value"),
        ("limit", "invalid_value"),
        ("color", "missing_parameter"),
    ]


@pytest.mark.parametrize(
    ("query", "code"),
    [("a=%FF", "invalid_utf8"), ("a=%00", "nul_character"), ("&".join(["a=1"] * 51), "too_many_parameters")],
)
def test_a_query_string_that_cannot_be_decoded_is_refused_at_once(query: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        QueryParameters(query, NAMES, "Allowed are some.")
    assert [error.code for error in caught.value.errors] == [code]


def test_a_path_without_parameters_refuses_any() -> None:
    refuse_parameters("")
    with pytest.raises(Problem) as caught:
        refuse_parameters("a=1")
    assert [error.code for error in caught.value.errors] == ["unknown_parameter"]
    assert caught.value.detail == caught.value.errors[0].detail
