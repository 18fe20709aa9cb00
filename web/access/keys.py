"""Bearer tokens that are API keys."""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from time import monotonic

from headrace.access.caller import Caller
from headrace.access.key_text import ID_END, PREFIX, id_of, is_like_key
from headrace.access.refusals import Refusals
from tables.access.key_cache import HeldKey, KeyCache

ID = slice(len(PREFIX), ID_END)
NO_HASH = bytes(32)
"""Compared with where no key has the id, so that the time of an answer does not tell whether one has."""


class KeyVerifier:
    """Finds whose key a token is; a `web.access.credentials.Verifier`."""

    def __init__(self, cache: KeyCache, refusals: Refusals) -> None:
        self._cache = cache
        self._held = cache.held
        self._held_by_text = cache.held_by_text
        self._refusals = refusals

    def is_meant(self, token: str) -> bool:
        """Whether the token begins as a key does."""
        return token.startswith(PREFIX)

    def known(self, token: str) -> Caller | None:
        """The caller if the key is in memory, and live."""
        # A dict compares hashes with a secret seed first: its time says nothing about how much of a key is right.
        held, now = self._held_by_text(token), monotonic()
        if held is None and (held := self._compared(token)) is None:
            return None
        return held.use(now) if now < held.fresh_until else None

    def _compared(self, token: str) -> HeldKey | None:
        """The key in memory whose hash the text has. A hash costs more than all the rest: once for each key read."""
        held = self._held(token[ID])
        if held is None or not _is_same(token, held.hash):
            return None
        self._cache.note_text(held, token)
        return held

    async def caller(self, token: str) -> Caller | None:
        """The caller; None if the key is malformed, unknown, expired or revoked."""
        key_id = id_of(token) if is_like_key(token) else None
        if key_id is None:
            self._refusals.add("malformed")
            return None
        held = await self._cache.find(key_id)
        if not _is_same(token, NO_HASH if held is None else held.hash) or held is None:
            self._refusals.add("unknown")
            return None
        caller = held.use(monotonic())
        if caller is None:
            self._refusals.add("revoked" if held.is_revoked else "expired")
        return caller


def _is_same(token: str, known: bytes) -> bool:
    """In a time that does not depend on how much of it is right."""
    return compare_digest(hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest(), known)
