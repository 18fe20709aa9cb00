"""Tokens: which are accepted, what their claims allow, and which attacks are refused."""

from __future__ import annotations

import hmac
import json
import logging
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.algorithms import ALGORITHMS
from headrace.access.caller import Caller
from headrace.access.grant import EVERYTHING, Allowed, Grant
from headrace.access.scopes import Scope
from headrace.errors import TokenKeysAwayError
from web.access.claims import ClaimNames
from web.access.credentials import Verifier
from web.access.tokens import MAX_BYTES

from tests.support.data.issuer import (
    AUDIENCE,
    ISSUER,
    claims,
    encoded,
    full_set,
    jwk,
    key_set,
    private_key,
    signed,
    token,
    with_payload,
)
from tests.support.data.token_verifiers import Clock, Source, verifier
from tests.support.fuzzing import JSON_VALUES, LITERALS, fuzz

NONE = Allowed((), frozenset())
PATTERNS = ClaimNames(sources="src", subjects="sub_of", types="typ_of")


async def caller(presented: str, names: ClaimNames | None = None) -> Caller | None:
    return await verifier(names).caller(presented)


async def refusal(presented: str, caplog: pytest.LogCaptureFixture, names: ClaimNames | None = None) -> str:
    """Why a token is refused, by the log; it fails for a token that is accepted."""
    with caplog.at_level(logging.WARNING):
        assert await caller(presented, names) is None
    return caplog.records[-1].getMessage().removeprefix("A token was refused: ")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_of_each_algorithm_is_accepted(algorithm: str) -> None:
    found = await caller(token(algorithm))
    assert found == Caller("jwt:device-1", "device-1", frozenset({Scope.WRITE, Scope.READ}), EVERYTHING)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_only_configured_algorithms_are_accepted(algorithm: str) -> None:
    others = frozenset(ALGORITHMS) - {algorithm}
    assert await verifier(algorithms=others).caller(token(algorithm)) is None


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
async def test_the_type_may_be_that_of_a_token_or_absent(typ: str | None) -> None:
    assert await caller(token(header={"typ": typ})) is not None


async def test_members_of_the_header_that_mean_nothing_here_are_ignored() -> None:
    assert await caller(token(header={"x5t": "AA", "cty": "JWT", "new": {"a": [1]}})) is not None


@pytest.mark.parametrize("aud", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE]])
async def test_the_audience_is_a_string_or_a_list_that_has_it(aud: Any) -> None:
    assert await caller(token(aud=aud)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": time.time() - 50},
        {"nbf": time.time() + 50},
        {"iat": time.time() + 50},
        {"nbf": 0, "iat": 0},
        {"iat": None},
    ],
)
async def test_clocks_may_differ_by_a_minute(changes: dict[str, Any]) -> None:
    assert await caller(token(**changes)) is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://issuer.example"}, "`iss` is not"),
        ({"iss": ISSUER + "/"}, "`iss` is not"),
        ({"iss": ISSUER.upper()}, "`iss` is not"),
        ({"iss": [ISSUER]}, "a registered claim"),
        ({"iss": None}, "a registered claim"),
        ({"aud": "headrace2"}, "`aud` lacks"),
        ({"aud": []}, "`aud` lacks"),
        ({"aud": ["Headrace"]}, "`aud` lacks"),
        ({"aud": [AUDIENCE, 1]}, "a registered claim"),
        ({"aud": {AUDIENCE: 1}}, "a registered claim"),
        ({"aud": None}, "a registered claim"),
        ({"sub": None}, "a registered claim"),
        ({"sub": ""}, "`sub` is empty"),
        ({"sub": 7}, "a registered claim"),
        ({"exp": None}, "a registered claim"),
        ({"exp": time.time() - 61}, "it has expired"),
        ({"exp": 0}, "it has expired"),
        ({"exp": -1}, "`exp` is not a time"),
        ({"exp": str(int(time.time()) + 600)}, "a registered claim"),
        ({"exp": True}, "a registered claim"),
        ({"exp": [9e9]}, "a registered claim"),
        ({"exp": 1e300}, "`exp` is not a time"),
        ({"exp": 10**400}, "a registered claim"),
        ({"exp": float("nan")}, "the payload is not JSON"),
        ({"exp": float("inf")}, "the payload is not JSON"),
        ({"nbf": time.time() + 120}, "it is not valid yet (`nbf`)"),
        ({"nbf": "soon"}, "a registered claim"),
        ({"iat": time.time() + 120}, "it is not valid yet (`iat`)"),
        ({"iat": -5}, "`iat` is not a time"),
        ({"scope": 7}, "the claim JWT_SCOPES_CLAIM"),
        ({"scope": ["write", 7]}, "the claim JWT_SCOPES_CLAIM"),
        ({"scope": {"write": True}}, "the claim JWT_SCOPES_CLAIM"),
    ],
)
async def test_wrong_claims_are_refused(changes: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture) -> None:
    assert (await refusal(token(**changes), caplog)).startswith(reason)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (json.dumps(claims())[:-1] + ', "exp": 9999999999}', "the payload is present more than once"),
        (json.dumps(claims())[:-1] + ', "\\u0073ub": "admin"}', "the payload is present more than once"),
        (json.dumps(claims())[:-1] + ', "x": "\\u0000"}', "the payload must not contain NUL"),
        (json.dumps(claims())[:-1] + ', "x": "\0"}', "the payload must not contain NUL"),
        (json.dumps(claims())[:-1] + ', "x": "\\ud800"}', "the payload has an escape"),
        (json.dumps(claims())[:-1] + ', "x": ' + "[" * 65 + "]" * 65 + "}", "the payload is nested"),
        (json.dumps(claims())[:-1] + ', "nbf": null}', "a registered claim"),
        (json.dumps(claims()).replace('"exp": ', '"exp": 0'), "the payload is not JSON"),
        (json.dumps([claims()]), "the payload must be a JSON object"),
        ('"text"', "the payload must be a JSON object"),
        ("\ufeff" + json.dumps(claims()), "the payload must not start with a byte order mark"),
        ("\udcff", "the payload must be UTF-8"),
        ("{" * 4_000, "the payload"),
    ],
)
async def test_a_payload_that_readers_could_read_differently_is_refused(
    payload: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await refusal(with_payload(payload), caplog)).startswith(reason)


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


RIGHT = token()


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


async def test_a_token_may_have_eight_kilobytes() -> None:
    small = token(x="")
    room = (MAX_BYTES - len(small)) * 3 // 4
    large = token(x="a" * (room - 2))
    assert MAX_BYTES - 8 < len(large) <= MAX_BYTES
    assert await caller(large) is not None
    assert await caller(token(x="a" * (room + 4))) is None


def test_what_is_meant_is_known_without_reading() -> None:
    checked: Verifier = verifier()
    assert checked.is_meant(RIGHT)
    assert checked.is_meant("a.b.c")
    assert not checked.is_meant("hr_id_secret")
    assert not checked.is_meant("hr_a.b.c")


@pytest.mark.parametrize(
    ("scope", "prefix", "found"),
    [
        ("write", "", {"write"}),
        ("openid write  read profile", "", {"write", "read"}),
        (["write", "audit", "openid"], "", {"write", "audit"}),
        ("Write READ ", "", set()),
        ("write,read", "", set()),
        ("writer", "", set()),
        ("*", "", set()),
        ("", "", set()),
        ([], "", set()),
        (["write read"], "", set()),
        ("write\tread", "", set()),
        (None, "", set()),
        ("headrace:write read headrace:admin", "headrace:", {"write", "admin"}),
        ("headrace:headrace:write", "headrace:", set()),
        ("headrace:write", "", set()),
    ],
)
async def test_scopes_are_named_exactly(scope: Any, prefix: str, found: set[str]) -> None:
    presented = await caller(token(scope=scope), ClaimNames(scopes_prefix=prefix))
    assert presented is not None
    assert presented.scopes == {Scope(name) for name in found}


async def test_the_claim_with_the_scopes_is_chosen() -> None:
    found = await caller(token(roles=["read"]), ClaimNames(scopes="roles"))
    assert found is not None
    assert found.scopes == {Scope.READ}


async def test_patterns_limit_what_a_token_may_touch() -> None:
    found = await caller(token(src=["/a/", "/b"], sub_of=["dev-1"], typ_of=[]), PATTERNS)
    assert found is not None
    assert found.grant == Grant(Allowed(("/a/",), frozenset({"/b"})), Allowed((), frozenset({"dev-1"})), NONE)


async def test_a_token_without_the_claims_may_touch_nothing() -> None:
    found = await caller(token(), PATTERNS)
    assert found is not None
    assert found.grant == Grant(NONE, NONE, NONE)
    half = await caller(token(), ClaimNames(subjects="sub_of"))
    assert half is not None
    assert half.grant == Grant(None, NONE, None)


@pytest.mark.parametrize("patterns", ['"/a/"', "7", "null", "{}", '["/a/", 7]', '[["/a/"]]', "[null]", '[""]', "true"])
@pytest.mark.parametrize("claim", ["src", "sub_of", "typ_of"])
async def test_patterns_of_a_wrong_type_refuse_the_token(
    claim: str, patterns: str, caplog: pytest.LogCaptureFixture
) -> None:
    payload = json.dumps(claims(src=[], sub_of=[], typ_of=[])).replace(f'"{claim}": []', f'"{claim}": {patterns}')
    assert (await refusal(with_payload(payload), caplog, PATTERNS)).startswith("a claim with patterns")


@pytest.mark.parametrize(
    "subject", ["a" * 129, "a" * 5_000, "line\nbreak", "line\\nbreak…", "\u202eevil", "é\x1b[31m", "…"]
)
async def test_a_caller_is_short_and_printable_and_no_two_are_the_same(subject: str) -> None:
    found = await caller(token(sub=subject))
    other = await caller(token(sub=subject + "b"))
    assert found is not None
    assert other is not None
    assert found.id.startswith("jwt:")
    assert len(found.id) <= 140
    assert found.id.isprintable()
    assert found.id != other.id


async def test_a_subject_may_have_any_script() -> None:
    found = await caller(token(sub="urn:gerät:7 ÷ 東京"))
    assert found is not None
    assert (found.id, found.name) == ("jwt:urn:gerät:7 ÷ 東京", "urn:gerät:7 ÷ 東京")


async def test_no_part_of_a_refused_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for presented in (token(iss="s3cret"), token(scope={"s3cret": 1}), token(header={"alg": "s3cret"}), "s3cret"):
        assert "s3cret" not in await refusal(presented, caplog)


async def test_a_valid_token_is_known_for_a_minute_at_most() -> None:
    clock = Clock()
    checked = verifier(clock=clock)
    presented = token()
    assert checked.known(presented) is None
    found = await checked.caller(presented)
    assert checked.known(presented) is found
    clock.now += 59.9
    assert checked.known(presented) is found
    clock.now += 0.1
    assert checked.known(presented) is None


async def test_a_token_is_not_known_beyond_its_end() -> None:
    clock = Clock()
    checked = verifier(clock=clock)
    ending, ended = token(exp=time.time() + 10), token(exp=time.time() - 10)
    assert await checked.caller(ending) is not None
    assert await checked.caller(ended) is not None
    assert checked.known(ending) is not None
    assert checked.known(ended) is None
    clock.now += 10
    assert checked.known(ending) is None


async def test_no_more_tokens_are_known_than_allowed_and_the_least_used_is_forgotten() -> None:
    checked = verifier(max_known=3)
    presented = [token("RS256", sub=f"d{number}") for number in range(4)]
    for one in presented[:3]:
        await checked.caller(one)
    assert checked.known(presented[0]) is not None
    await checked.caller(presented[3])
    assert [checked.known(one) is not None for one in presented] == [True, False, True, True]


async def test_a_refused_token_is_not_known() -> None:
    checked = verifier()
    refused = token(iss="other")
    assert await checked.caller(refused) is None
    assert checked.known(refused) is None


async def test_tokens_are_forgotten_when_the_keys_change() -> None:
    source = Source(full_set())
    checked = verifier(source=source)
    kept, withdrawn = token("ES256"), token("EdDSA")
    for one in (kept, withdrawn):
        assert await checked.caller(one) is not None
    source.content, source.changed = key_set(jwk("ES256", private_key("ES256"), "ES256")), True
    source.pause_seconds = 0
    assert await checked.caller(kept) is not None
    assert checked.known(withdrawn) is None
    assert checked.known(kept) is not None
    assert await checked.caller(withdrawn) is None


async def test_without_keys_nobody_is_let_in() -> None:
    checked = verifier(source=Source(OSError("no route")))
    for presented in (RIGHT, token(header={"kid": None}), token(header={"kid": "other"})):
        with pytest.raises(TokenKeysAwayError):
            await checked.caller(presented)
    assert checked.known(RIGHT) is None
    assert await checked.caller("a.b.c") is None


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
