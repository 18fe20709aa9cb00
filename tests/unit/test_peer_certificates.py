"""Who a client is by its certificate, and who is remembered for how long."""

from __future__ import annotations

import time
from typing import Any

import pytest

from headrace.access.caller import Caller
from headrace.errors import DependencyAwayError
from web.access.certificates import AWAY_SECONDS, KNOWN_SECONDS, NOBODY, CertificateVerifier, peer_of

DEVICE = Caller("k1", "device-1", frozenset())


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


class Keys:
    """The key rows, which may be away."""

    def __init__(self) -> None:
        self.rows = {"dns:device-1": DEVICE}
        self.is_away = False
        self.asked = 0
        self.now = 0.0

    async def find(self, identity: str) -> Caller | None:
        self.asked += 1
        if self.is_away:
            raise DependencyAwayError
        return self.rows.get(identity)

    def verifier(self) -> CertificateVerifier:
        return CertificateVerifier(self.find, clock=lambda: self.now)


async def test_a_caller_is_known_without_a_query_for_a_while() -> None:
    keys = Keys()
    verifier = keys.verifier()
    assert verifier.known("dns:device-1") is None
    assert await verifier.caller("dns:device-1") == DEVICE
    assert verifier.known("dns:device-1") == DEVICE
    assert await verifier.caller("dns:device-1") == DEVICE
    assert keys.asked == 1
    keys.now = KNOWN_SECONDS
    assert verifier.known("dns:device-1") is None
    keys.rows.clear()
    assert await verifier.caller("dns:device-1") is None


async def test_who_is_not_known_is_asked_for_each_time() -> None:
    keys = Keys()
    verifier = keys.verifier()
    assert await verifier.caller("dns:device-2") is None
    assert await verifier.caller("dns:device-2") is None
    assert keys.asked == 2


async def test_while_the_database_is_away_a_known_caller_stays_known_for_five_minutes_and_no_other() -> None:
    keys = Keys()
    verifier = keys.verifier()
    await verifier.caller("dns:device-1")
    keys.is_away, keys.now = True, AWAY_SECONDS - 1
    assert await verifier.caller("dns:device-1") == DEVICE
    with pytest.raises(DependencyAwayError):
        await verifier.caller("dns:device-2")
    keys.now = AWAY_SECONDS
    with pytest.raises(DependencyAwayError):
        await verifier.caller("dns:device-1")


async def test_who_is_forgotten_while_being_asked_for_is_not_remembered() -> None:
    keys = Keys()

    async def find(identity: str) -> Caller | None:
        found = await keys.find(identity)
        verifier.forget()
        return found

    verifier = CertificateVerifier(find)
    assert await verifier.caller("dns:device-1") == DEVICE
    assert verifier.known("dns:device-1") is None


def test_only_names_of_certificates_are_meant() -> None:
    verifier = Keys().verifier()
    assert verifier.is_meant("uri:spiffe://x")
    assert not verifier.is_meant("hr_1_x")
