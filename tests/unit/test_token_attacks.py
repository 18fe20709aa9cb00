"""Attacks with tokens, and tokens that are changed: none is accepted, and none raises anything."""

from __future__ import annotations

import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headrace.access.algorithms import ALGORITHMS
from web.access.tokens import MAX_BYTES

from tests.support.data.issuer import (
    claims,
    encoded,
    jwk,
    private_key,
    signed,
    token,
)
from tests.support.data.token_verifiers import caller, refusal, verifier

RIGHT = token()


NO_SIGNATURE = [
    f'{{"alg": "{name}", "kid": "ES256"}}' for name in ("none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512")
]


@pytest.mark.parametrize("header", NO_SIGNATURE)
@pytest.mark.parametrize("signature", ["", "AA"])
async def test_a_token_without_a_signature_is_refused(header: str, signature: str) -> None:
    presented = f"{encoded(header.encode())}.{encoded(json.dumps(claims()).encode())}.{signature}"
    assert await caller(presented) is None


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("digest", ["256", "512"])
async def test_a_public_key_is_no_secret(algorithm: str, digest: str, caplog: pytest.LogCaptureFixture) -> None:
    public: Any = private_key(algorithm).public_key()
    header = json.dumps({"alg": f"HS{digest}", "kid": algorithm}).encode()
    text = f"{encoded(header)}.{encoded(json.dumps(claims()).encode())}"
    shown = json.dumps(jwk(algorithm, private_key(algorithm)))
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        shown.encode(),
    ]
    for secret in secrets:
        made = hmac.new(secret, text.encode(), f"sha{digest}").digest()
        assert await refusal(f"{text}.{encoded(made)}", caplog) == "`alg` is not in JWT_ALGORITHMS"


@pytest.mark.parametrize("claimed", ALGORITHMS)
@pytest.mark.parametrize("kid", ALGORITHMS)
async def test_an_algorithm_must_be_that_of_the_key(claimed: str, kid: str) -> None:
    """The signature is made with the key that the header names, so only the algorithm is wrong."""
    if claimed == kid:
        return
    header = json.dumps({"alg": claimed, "kid": kid}).encode()
    presented = signed(header, json.dumps(claims()).encode(), kid)
    assert await caller(presented) is None


async def test_one_rsa_key_does_not_sign_for_both_paddings() -> None:
    header = json.dumps({"alg": "PS256", "kid": "RS256"}).encode()
    presented = signed(header, json.dumps(claims()).encode(), "PS256", private_key("RS256"))
    assert await caller(presented) is None


@pytest.mark.parametrize("claimed", ALGORITHMS)
async def test_a_stranger_s_key_is_not_believed(claimed: str, caplog: pytest.LogCaptureFixture) -> None:
    header = json.dumps({"alg": claimed, "kid": claimed}).encode()
    presented = signed(header, json.dumps(claims()).encode(), claimed, private_key(claimed, 1))
    assert await refusal(presented, caplog) == "its signature is not that of its key"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("jku", "http://127.0.0.1:1/keys"),
        ("x5u", "http://127.0.0.1:1/cert"),
        ("x5c", ["AA"]),
        ("jwk", jwk("ES256", private_key("ES256", 1))),
        ("crit", ["exp"]),
        ("crit", []),
        ("crit", ["b64"]),
        ("b64", False),
        ("zip", "DEF"),
        ("enc", "A256GCM"),
    ],
)
async def test_the_sender_does_not_say_where_the_key_is(
    member: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert await refusal(token(header={member: value}), caplog) == f"the header has `{member}`"
    header = json.dumps({"alg": "ES256", "kid": "ES256", member: value}).encode()
    strange = signed(header, json.dumps(claims()).encode(), "ES256", private_key("ES256", 1))
    assert await caller(strange) is None


@pytest.mark.parametrize(
    "kid",
    ["", "es256", "../../../../dev/null", "ES256\0", "ES256' OR '1'='1", "/etc/passwd", "http://127.0.0.1/", "0", "é"],
)
async def test_a_kid_only_names_a_key_of_the_set(kid: str) -> None:
    empty = hmac.new(b"", digestmod="sha256").digest()
    for presented in (token(header={"kid": kid}), token(header={"kid": kid})[:-86] + encoded(empty)):
        assert await caller(presented) is None


@pytest.mark.parametrize(
    "header",
    [
        '{"alg": "ES256", "kid": "ES256", "alg": "none"}',
        '{"alg": "none", "kid": "ES256", "alg": "ES256"}',
        '{"alg": "ES256", "kid": "x", "\\u006bid": "ES256"}',
        '{"alg": ["ES256"], "kid": "ES256"}',
        '{"alg": null, "kid": "ES256"}',
        '{"kid": "ES256"}',
        '{"alg": "ES256", "kid": 7}',
        '{"alg": "ES256", "kid": null}',
        '{"alg": "ES256", "kid": "ES256", "typ": 7}',
        '{"alg": "ES256", "kid": "ES256", "typ": "JWE"}',
        '{"alg": "ES256", "kid": "ES256", "typ": "dpop+jwt"}',
        '{"alg": "ES256", "kid": "ES256", "typ": ""}',
        '["ES256"]',
        "{}",
        "",
        "{" * 2_000,
    ],
)
async def test_a_wrong_header_is_refused_although_its_signature_is_right(header: str) -> None:
    assert await caller(signed(header.encode(), json.dumps(claims()).encode())) is None


@pytest.mark.parametrize(
    "presented",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        RIGHT + ".",
        "." + RIGHT,
        RIGHT + "=",
        RIGHT + "\n",
        " " + RIGHT,
        RIGHT.replace(".", "\0.", 1),
        RIGHT[:9] + "\0" + RIGHT[9:],
        RIGHT[:9] + "\ud800" + RIGHT[9:],
        RIGHT[:9] + "é" + RIGHT[9:],
        RIGHT[:9] + "+/" + RIGHT[9:],
        RIGHT.rpartition(".")[0],
        RIGHT.rpartition(".")[0] + ".",
        RIGHT + ".AA.AA",
        RIGHT + "A" * MAX_BYTES,
        "A" * 3_000_000,
        f"{RIGHT.rpartition('.')[0]}.{'A' * 3_000_000}",
        "hr_key_secret",
    ],
    ids=lambda text: ascii(text[:20]),
)
async def test_what_is_no_token_is_refused(presented: str) -> None:
    checked = verifier()
    checked.is_meant(presented)
    assert checked.known(presented) is None
    assert await checked.caller(presented) is None


async def test_a_token_has_one_text() -> None:
    """The last character of a part has bits that mean nothing: with other bits it is another text."""
    for place in (RIGHT.index("."), RIGHT.rindex("."), len(RIGHT)):
        for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
            other = RIGHT[: place - 1] + last + RIGHT[place:]
            assert (await caller(other) is not None) == (other == RIGHT)
