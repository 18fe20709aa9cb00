"""Tokens: which are accepted, and how long a valid token is known."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.access.algorithms import ALGORITHMS
from headrace.access.caller import Caller
from headrace.access.grant import EVERYTHING
from headrace.access.scopes import Scope
from headrace.errors import TokenKeysAwayError
from web.access.credentials import Verifier
from web.access.tokens import MAX_BYTES

from tests.support.data.issuer import (
    AUDIENCE,
    FromNow,
    full_set,
    jwk,
    key_set,
    private_key,
    token,
)
from tests.support.data.token_verifiers import Clock, Source, caller, verifier

RIGHT = token()


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
        {"exp": FromNow(-40)},
        {"nbf": FromNow(50)},
        {"iat": FromNow(50)},
        {"nbf": 0, "iat": 0},
        {"iat": None},
    ],
)
async def test_clocks_may_differ_by_a_minute(changes: dict[str, Any]) -> None:
    assert await caller(token(**changes)) is not None


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
    ending, ended = token(exp=FromNow(30)), token(exp=FromNow(-10))
    assert await checked.caller(ending) is not None
    assert await checked.caller(ended) is not None
    assert checked.known(ending) is not None
    assert checked.known(ended) is None
    clock.now += 30
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
