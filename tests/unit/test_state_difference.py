"""What `verify` says of a row that differs: the member and both values, whatever the size of the state."""

from __future__ import annotations

import json

import pytest

from agents.verify.findings import MAX_SHOWN_CHARACTERS
from agents.verify.state_difference import described

LONG = {f"reading{number}": {"value": number, "unit": "C"} for number in range(2_000)}


@pytest.mark.parametrize(
    ("row", "fold", "said"),
    [
        ('{"count": 100}', '{"count": 11}', "/count is 100; in the fold 11"),
        ('{"a": {"b/~": [1, 2.5]}}', '{"a": {"b/~": [1, 2.50, 3]}}', "/a/b~1~0/2 is absent; in the fold 3"),
        ('{"a": 1, "b": null}', '{"b": 2}', "/a is 1; in the fold absent; other members that differ: 1"),
        (
            '{"order": [2, 1], "n": 1}',
            '{"order": [1, 2], "n": 2}',
            "/n is 1; in the fold 2; other members that differ: 1",
        ),
        ('{"order": [2, 1]}', '{"order": [1, 2]}', "/order is [2, 1]; in the fold [1, 2]"),
        ("1", "2", "the state is 1; in the fold 2"),
        ("1.0000000000000000000001", "1", "the state is 1.0000000000000000000001; in the fold 1"),
        ('{"ü": "x"}', '{"ü": ["x"]}', '/ü is "x"; in the fold ["x"]'),
    ],
)
def test_the_first_member_that_differs_is_named(row: str, fold: str, said: str) -> None:
    assert described(row, fold) == said


def test_a_member_deep_in_a_large_state_is_named() -> None:
    fold = {**LONG, "reading1999": {"value": -1, "unit": "C"}}
    assert described(json.dumps(LONG), json.dumps(fold)) == "/reading1999/value is 1999; in the fold -1"


def test_long_names_and_values_are_cut() -> None:
    name, value = "n" * 1_000, "v" * 1_000
    assert len(described(json.dumps({name: value}), json.dumps({name: value[1:]}))) < MAX_SHOWN_CHARACTERS + 100
