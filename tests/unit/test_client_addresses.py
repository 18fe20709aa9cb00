"""Which client a request comes from: what a client writes into X-Forwarded-For itself never counts."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as some

from headrace.access.addresses import MOST_HOPS, as_limited, client_address, networks, read_address

PROXIES = networks("10.0.0.0/8, 192.168.1.1, fd00::/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711, 10.0.0.2"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("", ["1.1.1.1"], ""),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client_address(peer, forwarded, PROXIES) == expected


@given(some.lists(some.text(), max_size=5))
def test_a_client_cannot_choose_its_address(forged: list[str]) -> None:
    assert client_address("10.0.0.1", [*forged, "198.51.100.1"], PROXIES) == "198.51.100.1"
    assert client_address("198.51.100.1", forged, PROXIES) == "198.51.100.1"


def test_no_more_hops_are_read_than_the_limit() -> None:
    assert client_address("10.0.0.1", ["1.1.1.1", *["10.0.0.2"] * MOST_HOPS], PROXIES) == "10.0.0.2"


@given(some.text())
def test_no_text_is_too_strange_for_an_address(text: str) -> None:
    found = read_address(text)
    assert found is None or ip_address(str(found)) == found
    as_limited(text)


def test_limits_of_ipv6_apply_to_a_network() -> None:
    assert as_limited("2001:db8:1:2:3::4") == as_limited("2001:db8:1:2::") == "2001:db8:1:2::"
    assert as_limited("203.0.113.9") == "203.0.113.9"
    assert as_limited("") == ""
