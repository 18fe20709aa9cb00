"""Which keys of a JWK set may verify tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from headrace.access.algorithms import ALGORITHMS
from web.access.key_set import MAX_KEYS, InvalidKeySetError, read_key_set

from tests.support.data.issuer import Json, full_set, jwk, key_set, private_key, rsa_key
from tests.support.data.token_verifiers import ALL

ES256 = jwk("ES256", private_key("ES256"), "a")
RSA = jwk("RS256", private_key("RS256"), "r")


def without(one: Json, *names: str) -> Json:
    return {name: value for name, value in one.items() if name not in names}


def reasons(*keys: Any) -> list[str]:
    found = read_key_set(json.dumps({"keys": keys}).encode(), ALL)
    assert found.keys == ()
    return [key.reason for key in found.ignored]


def test_a_key_of_each_kind_is_used_for_its_algorithm_alone() -> None:
    found = read_key_set(full_set(), ALL)
    assert found.ignored == ()
    for algorithm in ALGORITHMS:
        key = found.find(algorithm, algorithm)
        assert key is not None
        assert key.algorithms == {algorithm}
        assert all(found.find(algorithm, other) is None for other in set(ALGORITHMS) - {algorithm})


def test_a_key_without_alg_is_used_for_what_fits_its_type_and_curve() -> None:
    found = read_key_set(key_set(RSA, ES256), ALL)
    assert [key.algorithms for key in found.keys] == [{"RS256", "PS256"}, {"ES256"}]
    assert [key.is_slow for key in found.keys] == [False, False]


def test_only_configured_algorithms_count_and_that_is_no_fault_of_the_key() -> None:
    found = read_key_set(key_set(RSA, ES256), frozenset({"RS256"}))
    assert [key.algorithms for key in found.keys] == [{"RS256"}]
    assert [(key.name, key.is_expected) for key in found.ignored] == [("a", True)]


def test_a_token_without_kid_has_a_key_only_where_one_alone_fits() -> None:
    one = read_key_set(key_set(without(RSA, "kid"), ES256), ALL)
    assert one.find(None, "RS256") == one.keys[0]
    assert one.find(None, "ES256") == one.keys[1]
    two = read_key_set(key_set(RSA, jwk("RS256", private_key("RS256", 1), "s")), ALL)
    assert two.find(None, "RS256") is None
    assert not two.has("x")
    assert two.has(None)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (ES256 | {"use": "enc"}, "its `use` is not `sig`"),
        (ES256 | {"key_ops": ["sign"]}, "its `key_ops` lack `verify`"),
        (ES256 | {"alg": "RS256"}, "it is for none of JWT_ALGORITHMS"),
        (ES256 | {"alg": "none"}, "it is for none of JWT_ALGORITHMS"),
        (RSA | {"alg": "HS256"}, "it is for none of JWT_ALGORITHMS"),
        (RSA | {"alg": "RSA-OAEP"}, "it is for none of JWT_ALGORITHMS"),
        (RSA | {"crv": "P-256"}, "it is for none of JWT_ALGORITHMS"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "it has the private member `k`: such a key must not be published"),
        ({"kty": "oct"}, "it is symmetric"),
        ({"kty": "new"}, "it is for none of JWT_ALGORITHMS"),
        (jwk("ES256", private_key("ES256"), private=True), "it has the private member `d`: such a key must not be"),
        (jwk("RS256", private_key("RS256"), private=True), "it has the private member `d`: such a key must not be"),
        (jwk("EdDSA", private_key("EdDSA"), private=True), "it has the private member `d`: such a key must not be"),
        (jwk("RS256", rsa_key(1_024)), "it has 1024 bits; allowed: 2048 to 8192"),
        (RSA | {"e": "Aw"}, "its exponent is not between"),
        (RSA | {"e": "AAEAAAAB" * 3}, "its exponent is not between"),
        (RSA | {"e": "AQAA"}, "its numbers are not a key"),
        (jwk("EdDSA", ed448.Ed448PrivateKey.generate()), "it is for none of JWT_ALGORITHMS"),
        (jwk("ES512", ec.generate_private_key(ec.SECP521R1())), "it is for none of JWT_ALGORITHMS"),
        (jwk("ES256K", ec.generate_private_key(ec.SECP256K1())), "it is for none of JWT_ALGORITHMS"),
        (ES256 | {"crv": "P-384"}, "its numbers are not a key"),
        (ES256 | {"x": "A" * 43}, "its numbers are not a key"),
        (ES256 | {"x": "A A"}, "its numbers are not in base64url"),
        (ES256 | {"x": ""}, "its numbers are not in base64url"),
        (ES256 | {"x": 7}, "it is no JWK: Expected `str`, got `int` - at `$.x`"),
        (ES256 | {"kid": 7}, "it is no JWK: Expected `str`, got `int` - at `$.kid`"),
        (without(ES256, "y"), "its numbers are not a key"),
        (without(RSA, "n"), "its numbers are not a key"),
        (without(RSA, "kty"), "it is no JWK: Object missing required field `kty`"),
        ({}, "it is no JWK: Object missing required field `kty`"),
        ("key", "it must be a JSON object"),
        (None, "it must be a JSON object"),
    ],
)
def test_a_key_that_cannot_be_used_is_ignored_with_its_reason(key: Any, reason: str) -> None:
    (found,) = reasons(key)
    assert found.startswith(reason)


def test_a_wrong_key_does_not_harm_the_others() -> None:
    found = read_key_set(key_set({"kty": "oct", "k": "AA", "kid": "old\n"}, ES256), ALL)
    assert [key.kid for key in found.keys] == ["a"]
    assert [(key.name, key.is_expected) for key in found.ignored] == [("old\\n", False)]


@pytest.mark.parametrize("other", [RSA | {"kid": "a"}, ES256, {"kty": "oct", "kid": "a"}, {"kid": "a"}])
def test_of_keys_with_the_same_kid_none_is_used(other: Json) -> None:
    found = read_key_set(key_set(ES256, other, RSA), ALL)
    assert [key.kid for key in found.keys] == ["r"]
    assert "another key has the same `kid`" in [key.reason for key in found.ignored]


def test_members_of_a_key_that_are_there_twice_are_not_guessed_at() -> None:
    body = b'{"keys": [' + json.dumps(ES256).encode().replace(b"{", b'{"kty": "RSA", ', 1) + b"]}"
    assert [key.reason for key in read_key_set(body, ALL).ignored] == ["it is present more than once"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is not JSON"),
        (b"<html>", "is not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "has no `keys`"),
        (b'{"keys": {}}', "must be a JSON array"),
        (b'{"keys": null}', "must be a JSON array"),
        (b'{"keys": [], "keys": []}', "is present more than once"),
        (b'{"keys": [' + b"[" * 10_000, "nested too deep"),
        (b'{"keys": [{"a": ' + b"[" * 9 + b"]" * 9 + b"}]}", "levels deep"),
        (b"\xff", "must be UTF-8"),
        (key_set(*[{"kty": "oct"}] * (MAX_KEYS + 1)), "more than 100 keys"),
    ],
)
def test_what_is_no_set_is_refused_as_a_whole(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidKeySetError, match=reason):
        read_key_set(body, ALL)


def test_a_set_may_be_empty() -> None:
    assert read_key_set(b'{"keys": []}', ALL) == ((), ())
