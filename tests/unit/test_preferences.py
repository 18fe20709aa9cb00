"""The header `Prefer`, as RFC 7240 writes it."""

from __future__ import annotations

import time

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from web.requests.preferences import MOST_WAIT_SECONDS, NO_PREFERENCES, Preferences, preferences


def read(*lines: str) -> Preferences:
    return preferences(make_mocked_request("POST", "/", headers=CIMultiDict([("prefer", line) for line in lines])))


@pytest.mark.parametrize(
    ("lines", "meant"),
    [
        ((), NO_PREFERENCES),
        (("handling=strict",), Preferences(strict=True)),
        (("Handling = STRICT",), Preferences(strict=True)),
        (("handling=lenient",), NO_PREFERENCES),
        (("wait=10",), Preferences(wait_seconds=10)),
        (('WAIT="10"',), Preferences(wait_seconds=10)),
        (("wait=0",), Preferences(wait_seconds=0)),
        (("wait=100000",), Preferences(wait_seconds=MOST_WAIT_SECONDS)),
        (('respond-async, wait=5; of=what; "x"=1 , handling=strict',), Preferences(strict=True)),
        (("wait=5;a=b; c;, handling=strict",), Preferences(strict=True, wait_seconds=5)),
        (("wait=5", "handling=strict"), Preferences(strict=True, wait_seconds=5)),
        (("wait=5, wait=7",), Preferences(wait_seconds=5)),
        (("wait=5", "wait=7"), Preferences(wait_seconds=5)),
        (('foo="a, wait=9", wait=1',), Preferences(wait_seconds=1)),
        (('foo="a\\", wait=9", wait=1',), Preferences(wait_seconds=1)),
        ((",, ,wait=5,,",), Preferences(wait_seconds=5)),
    ],
)
def test_what_is_meant(lines: tuple[str, ...], meant: Preferences) -> None:
    assert read(*lines) == meant


@pytest.mark.parametrize(
    "line",
    ["wait", "wait=", 'wait=""', "wait=-1", "wait=1.5", "wait=1s", "wait=٣", "wait=5 x", "=5", "@=strict"],
)
def test_what_is_not_understood_is_passed_over(line: str) -> None:
    assert read(line) == NO_PREFERENCES
    assert read(f"{line}, handling=strict") == Preferences(strict=True)


@given(st.lists(st.text(st.sampled_from(' \t,;="\\awit5'), max_size=40), max_size=4))
def test_no_header_is_too_strange(lines: list[str]) -> None:
    assert isinstance(read(*lines, "handling=strict"), Preferences)


@pytest.mark.parametrize("piece", [",", "a,", "a;", '"', 'a="', "\\", "@", ", ", 'a="\\'])
def test_a_long_header_takes_no_longer_than_it_is(piece: str) -> None:
    started = time.process_time()
    read(piece * 100_000 + "@")
    assert time.process_time() - started < 5


def test_what_was_applied_is_told() -> None:
    assert NO_PREFERENCES.applied(waited=False) == {}
    assert Preferences(wait_seconds=5).applied(waited=False) == {}
    assert Preferences(wait_seconds=5).applied(waited=True) == {"Preference-Applied": "wait"}
    assert Preferences(strict=True).applied(waited=True) == {"Preference-Applied": "handling=strict, wait"}
