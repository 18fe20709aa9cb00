"""Who a client is by its certificate."""

from __future__ import annotations

import time
from typing import Any

import pytest

from web.access.certificates import NOBODY, peer_of


def certificate(*names: tuple[str, str], ends: str = "Jan  1 00:00:00 3000 GMT") -> dict[str, Any]:
    return {"subject": ((("commonName", "cn"),),), "subjectAltName": names, "notAfter": ends}


@pytest.mark.parametrize(
    ("names", "identity"),
    [
        ([("DNS", "Device-1"), ("URI", "spiffe://x/Y")], "uri:spiffe://x/Y"),
        ([("email", "a@b"), ("DNS", "Device-1"), ("DNS", "other")], "dns:device-1"),
        ([("IP Address", "10.0.0.1"), ("email", "a@b")], "email:a@b"),
        ([("IP Address", "10.0.0.1")], None),
        ([], None),
        ([("DNS", "a\nb")], None),
        ([("DNS", "a\0.b")], None),
        ([("URI", "x" * 2000)], None),
    ],
)
def test_the_first_name_of_the_first_kind_counts(names: list[tuple[str, str]], identity: str | None) -> None:
    assert peer_of(certificate(*names)).identity == identity


def test_without_a_certificate_a_client_is_nobody() -> None:
    assert peer_of(None) == peer_of({}) == NOBODY


def test_the_end_of_a_certificate_is_read() -> None:
    assert peer_of(certificate(("DNS", "x"), ends="Jan  1 00:00:00 2000 GMT")).ends < time.time()
