"""What the claims of a token allow, and which claims are refused."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from headrace.access.grant import Allowed, Grant
from headrace.access.scopes import Scope
from web.access.claims import ClaimNames

from tests.support.data.issuer import (
    AUDIENCE,
    ISSUER,
    FromNow,
    claims,
    token,
    with_payload,
)
from tests.support.data.token_verifiers import caller, refusal

NONE = Allowed((), frozenset())
PATTERNS = ClaimNames(sources="src", subjects="sub_of", types="typ_of")


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
        ({"exp": FromNow(-61)}, "it has expired"),
        ({"exp": 0}, "it has expired"),
        ({"exp": -1}, "`exp` is not a time"),
        ({"exp": str(int(time.time()) + 600)}, "a registered claim"),
        ({"exp": True}, "a registered claim"),
        ({"exp": [9e9]}, "a registered claim"),
        ({"exp": 1e300}, "`exp` is not a time"),
        ({"exp": 10**400}, "a registered claim"),
        ({"exp": float("nan")}, "the payload is not JSON"),
        ({"exp": float("inf")}, "the payload is not JSON"),
        ({"nbf": FromNow(120)}, "it is not valid yet (`nbf`)"),
        ({"nbf": "soon"}, "a registered claim"),
        ({"iat": FromNow(120)}, "it is not valid yet (`iat`)"),
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


SUBJECTS = ["a" * 129, "a" * 5_000, "line\nbreak", "line\\nbreak…", "\u202eevil", "é\x1b[31m", "…"]
SUBJECTS += ["zero\u200bwidth", "no\u00a0break", "\ue000"]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda text: ascii(text[:20]))
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
