"""Whatever is sent as a token, signed by an issuer, or published as keys: nothing is accepted that must not be."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st

from web.access.claims import ClaimNames
from web.access.key_set import InvalidKeySetError, read_key_set

from tests.support.data.issuer import (
    AUDIENCE,
    ISSUER,
    Json,
    claims,
    full_set,
    jwk,
    key_set,
    private_key,
    token,
    with_payload,
)
from tests.support.data.token_verifiers import ALL, caller
from tests.support.fuzzing import JSON_VALUES, LITERALS, damaged, fuzz

ES256 = jwk("ES256", private_key("ES256"), "a")
RSA = jwk("RS256", private_key("RS256"), "r")


def accepted_by_pyjwt(presented: str) -> bool:
    header = jwt.get_unverified_header(presented)
    public: Any = private_key(header["kid"]).public_key()
    jwt.decode(
        presented,
        public,
        [header["alg"]],
        audience=AUDIENCE,
        issuer=ISSUER,
        leeway=60,
        options={"require": ["exp", "sub", "iss", "aud"]},
    )
    return True


MUTABLE = [token("RS256"), token("ES256"), token("EdDSA")]


@fuzz(150)
@given(st.sampled_from(MUTABLE), st.data())
async def test_a_token_that_was_changed_is_never_accepted(original: str, data: st.DataObject) -> None:
    presented = original
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(presented)))
        cut = data.draw(st.integers(0, 3))
        presented = presented[:place] + data.draw(st.text("AZaz09-_.=\0é", max_size=3)) + presented[place + cut :]
    assert (await caller(presented) is not None) == (presented == original)


REGISTERED = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "scope", "src"])


@fuzz(150)
@given(st.dictionaries(REGISTERED, JSON_VALUES.map(json.dumps) | LITERALS, max_size=2))
async def test_whatever_an_issuer_signs_is_accepted_only_if_pyjwt_accepts_it(changes: dict[str, str]) -> None:
    members = {name: json.dumps(value) for name, value in claims(src=["/a/"]).items()} | changes
    presented = with_payload("{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}")
    found = await caller(presented, ClaimNames(sources="src"))
    assert found is None or accepted_by_pyjwt(presented)


SETS = st.sampled_from([full_set().decode(), key_set(ES256, RSA).decode()])
MEMBERS = st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "crv", "x", "y", "n", "e"])


@fuzz(200)
@given(damaged(SETS) | st.lists(JSON_VALUES).map(lambda keys: json.dumps({"keys": keys}).encode()))
def test_no_document_raises_anything_else(body: bytes) -> None:
    with contextlib.suppress(InvalidKeySetError):
        read_key_set(body, ALL)


SCALARS = st.none() | st.integers() | st.sampled_from(["AQAB", "AA", "", "P-384", "Ed25519", "OKP", "EC", "RSA", "é"])


@fuzz(200)
@given(st.sampled_from([ES256, RSA]), st.dictionaries(MEMBERS, SCALARS, max_size=3))
def test_no_key_raises_anything(key: Json, changes: Json) -> None:
    found = read_key_set(json.dumps({"keys": [key | changes]}).encode(), ALL)
    assert len(found.keys) + len(found.ignored) == 1
