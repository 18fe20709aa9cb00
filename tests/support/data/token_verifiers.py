"""Verifiers of tokens whose keys and clock a test controls."""

from __future__ import annotations

import logging

import pytest

from headrace.access.algorithms import ALGORITHMS
from headrace.access.caller import Caller
from web.access.claims import ClaimNames, Expected
from web.access.jwks import TokenKeys
from web.access.tokens import TokenVerifier

from tests.support.data.issuer import AUDIENCE, ISSUER, full_set

ALL = frozenset(ALGORITHMS)
EXPECTED = Expected(ISSUER, AUDIENCE)


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """A key set in memory, or an error."""

    name = "memory"
    pause_seconds = 60.0

    def __init__(self, content: bytes | Exception) -> None:
        self.content = content
        self.changed = False
        self.reads = 0

    def has_changed(self) -> bool:
        return self.changed

    async def read(self) -> bytes:
        self.reads += 1
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def verifier(
    names: ClaimNames | None = None,
    *,
    algorithms: frozenset[str] = ALL,
    source: Source | None = None,
    clock: Clock | None = None,
    max_known: int = 100,
) -> TokenVerifier:
    """A verifier of the tokens of `tests.support.data.issuer`."""
    clock = clock or Clock()
    keys = TokenKeys(source or Source(full_set()), algorithms, refresh_seconds=3600.0, clock=clock)
    return TokenVerifier(keys, algorithms, EXPECTED, names or ClaimNames(), max_known=max_known, clock=clock)


async def caller(presented: str, names: ClaimNames | None = None) -> Caller | None:
    """Who presents a token to a new verifier."""
    return await verifier(names).caller(presented)


async def refusal(presented: str, caplog: pytest.LogCaptureFixture, names: ClaimNames | None = None) -> str:
    """Why a token is refused, by the log; it fails for a token that is accepted."""
    with caplog.at_level(logging.WARNING):
        assert await caller(presented, names) is None
    return caplog.records[-1].getMessage().removeprefix("A token was refused: ")
