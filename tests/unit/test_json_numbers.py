"""The size of a text once jsonb has written its numbers, compared with the decimal module."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.envelope import InvalidEnvelope, Limits, parse_event
from headrace.events.json_numbers import written_out_exceeds, wrong_numbers

LIMITS = Limits()
RECEIVED = "2026-11-22T10:00:00.123456Z"

exponents = st.integers(-400, 400) | st.integers(-16_000, 100_000)
numbers = st.builds(
    lambda whole, fraction, mark, exponent: f"{whole}{fraction}{mark}{exponent}" if mark else f"{whole}{fraction}",
    st.integers(-(10**9), 10**9),
    st.sampled_from(["", ".0", ".5", ".000001", ".12345"]),
    st.sampled_from(["e", "E", ""]),
    exponents,
)


def event(data: str) -> bytes:
    return f'{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data}}}'.encode()


def written(number: str) -> str:
    """As PostgreSQL writes a numeric: the digits of the text, without an exponent."""
    value = Decimal(number)
    return f"{value:f}" if value or "." in f"{value:f}" else "0"


@settings(deadline=None, max_examples=200)
@given(st.lists(numbers | st.sampled_from(['"1e9000"', '"5e0a1e3"', "true"]), max_size=12), st.integers(10, 300_000))
def test_the_size_is_that_of_the_numbers_written_out(items: list[str], max_bytes: int) -> None:
    text = f"[{','.join(items)}]"
    sizes = [max(len(item), len(written(item))) if item[0] not in '"t' else len(item) for item in items]
    expected = sum(sizes) + 2 + max(len(items) - 1, 0)
    assert written_out_exceeds(text.encode(), max_bytes) == (expected > max_bytes)


@pytest.mark.parametrize(
    "data",
    [
        "[" + ",".join(["1e131071"] * 9_000) + "]",
        "[" + ",".join(["1e-16383"] * 800) + "]",
        "[" + ",".join(["0e-16383"] * 800) + "]",
        '{"a":[' + ",".join(["1E+131071"] * 8) + "]}",
        "[" + ",".join(["1e99"] * 100_000) + "]",
    ],
)
def test_an_event_that_grows_beyond_the_limit_is_too_large(data: str) -> None:
    with pytest.raises(InvalidEnvelope) as refused:
        parse_event(event(data), LIMITS, RECEIVED)
    (error,) = refused.value.errors
    assert (refused.value.status, error.code, error.pointer) == (413, "event_too_large", "/data")


@pytest.mark.parametrize(
    "data",
    [
        "[" + ",".join(["1e131071"] * 7) + "]",
        "[" + ",".join(["1"] * 499_000) + "]",
        "[" + ",".join(["1.234567890123e-05"] * 45_000) + "]",
        '["' + "1e9999 " * 100_000 + '"]',
    ],
)
def test_an_event_within_the_limit_is_accepted(data: str) -> None:
    assert parse_event(event(data), LIMITS, RECEIVED).id == "1"


def test_the_smallest_text_that_grows_is_found_whatever_the_limit() -> None:
    assert wrong_numbers(b"[1e9]", 11) == "event_too_large"
    assert wrong_numbers(b"[1e9]", 12) is None


def test_numbers_of_a_large_event_are_measured_in_linear_time() -> None:
    started = time.process_time()
    wrong_numbers(json.dumps([int("7" * 4_000)] * 200).encode() + b"1e1", 10**9)
    wrong_numbers(b"[" + b"7" * 999_000 + b",1e1]", 10**6)
    assert time.process_time() - started < 2
