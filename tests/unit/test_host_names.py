"""Hosts and origins, as settings list them and as requests carry them."""

from __future__ import annotations

import re

import pytest

from headrace.process.host_names import (
    HOSTS_PATTERN,
    ORIGINS_PATTERN,
    host_of,
    is_loopback,
    is_same_origin,
    listed,
    listed_origins,
)


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("LocalHost:8080", "localhost"),
        ("localhost.", "localhost"),
        ("127.0.0.1:", "127.0.0.1"),
        ("[::1]:8080", "[::1]"),
        ("evil.example@localhost", None),
        ("localhost, evil.example", None),
        ("::1", None),
        ("localhost:port", None),
        ("", None),
    ],
)
def test_a_host_is_read_without_its_port(header: str, host: str | None) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8081", "localhost:8081", True),
        ("https://api.example", "api.example", True),
        ("https://api.example", "API.example:443", True),
        ("http://localhost:8081", "localhost:8080", False),
        ("https://evil.example", "localhost:8080", False),
        ("null", "localhost", False),
        ("null", "", False),
        ("", "", False),
        ("ftp://localhost", "localhost", False),
    ],
)
def test_an_origin_is_compared_with_the_host(origin: str, host: str, *, same: bool) -> None:
    assert is_same_origin(origin, host) is same


def test_lists_are_read_in_lower_case_and_without_default_ports() -> None:
    assert listed("A.example, .B.example,") == {"a.example", ".b.example"}
    assert listed_origins("https://A.example:443,http://b.example:8080") == {
        "https://a.example",
        "http://b.example:8080",
    }


@pytest.mark.parametrize("text", ["", "*", "a.example", ".a.example, b", "[::1],10.0.0.1"])
def test_what_allowed_hosts_may_be(text: str) -> None:
    assert re.search(HOSTS_PATTERN, text)


@pytest.mark.parametrize("text", ["a.example:80", "http://a.example", "a b", "a.example,", "a/b"])
def test_what_allowed_hosts_may_not_be(text: str) -> None:
    assert not re.search(HOSTS_PATTERN, text)


@pytest.mark.parametrize("text", ["*", "null", "a.example", "https://a.example/", "https://a.example/path"])
def test_what_origins_may_not_be(text: str) -> None:
    assert not re.search(ORIGINS_PATTERN, text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1", "[::ffff:127.0.0.1]"])
def test_what_loopback_is(host: str) -> None:
    assert is_loopback(host)
