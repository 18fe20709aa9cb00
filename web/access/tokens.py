"""JSON Web Tokens (RFC 7519) as credentials.

Structure, header and claims are read strictly, once, by Headrace's own parser.
PyJWT reads keys and verifies signatures.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from aiohttp import web
from jwt import PyJWS
from msgspec import UNSET, UnsetType

from headrace.access.algorithms import ALGORITHMS
from headrace.access.caller import Caller
from headrace.events import strict_json
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from web.access.claims import ClaimNames, Expected, RefusedTokenError, verified
from web.access.jwks import TokenKeys
from web.access.key_set import SigningKey

MAX_BYTES = 8_192
KNOWN_SECONDS = 60.0
"""How long a token is believed without another check: so soon is a change of the keys noticed."""
MAX_KNOWN = 10_000

_MAX_DEPTH = 8
_SLOW_AT_ONCE = 2
_PARTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# Where to find the key, or how to read the rest, is never up to the sender. No extension is understood (`crit`).
_REFUSED_MEMBERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"})
_TYPES = frozenset({"jwt", "at+jwt"})
_SHA256 = hashlib.sha256()
_SIGNATURES = PyJWS(ALGORITHMS)

log = ActionLog(__name__)


class _Header(msgspec.Struct):
    alg: str
    kid: str | UnsetType = UNSET
    typ: str | UnsetType = UNSET


_HEADER = msgspec.json.Decoder(_Header)


class Presented(NamedTuple):
    """A token whose signature is not verified yet."""

    algorithm: str
    kid: str | None
    signed: bytes
    payload: bytes
    signature: bytes


class TokenVerifier:
    """Verifies tokens, and remembers for a short time those that are valid. A `Verifier`."""

    def __init__(
        self,
        keys: TokenKeys,
        algorithms: frozenset[str],
        expected: Expected,
        names: ClaimNames,
        *,
        max_known: int = MAX_KNOWN,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._algorithms = algorithms
        self._expected = expected
        self._names = names
        self._max_known = max_known
        self._clock = clock
        self._wall_clock = wall_clock
        # By the digest of the token, least recently used first: no token stays in memory.
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._known_version = 0
        self._throttled = ThrottledLog(log)
        self._slow = asyncio.Semaphore(_SLOW_AT_ONCE)

    async def on_startup(self, _: web.Application) -> None:
        """Begin to read the keys."""
        self._keys.start()

    async def on_cleanup(self, _: web.Application) -> None:
        """End a read of the keys that is in flight."""
        await self._keys.stop()

    def is_meant(self, token: str) -> bool:
        return "." in token and not token.startswith("hr_")

    def known(self, token: str) -> Caller | None:
        if len(token) > MAX_BYTES or not token.isascii():
            return None
        digest = _digest(token)
        found = self._known.get(digest)
        if found is None or self._known_version != self._keys.version:
            return None
        caller, until = found
        if self._clock() >= until:
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return caller

    async def caller(self, token: str) -> Caller | None:
        try:
            return await self._caller(token)
        except RefusedTokenError as refusal:
            self._throttled.warning(LogAction.TOKEN_REFUSED, "A token was refused: {reason}", reason=str(refusal))
            return None

    async def _caller(self, token: str) -> Caller:
        presented = read_token(token, self._algorithms)
        key = await self._keys.find(presented.kid, presented.algorithm)
        version = self._keys.version
        if key is None:
            raise RefusedTokenError("no key has its `kid`, its algorithm, or both")
        if key.is_slow:
            async with self._slow:
                if (caller := self.known(token)) is not None:
                    return caller
                is_signed = await asyncio.to_thread(is_signed_with, key, presented)
        else:
            is_signed = is_signed_with(key, presented)
        if not is_signed:
            raise RefusedTokenError("its signature is not that of its key")
        now = self._wall_clock()
        caller, expires = verified(presented.payload, self._expected, self._names, now)
        self._remember(token, caller, seconds=min(KNOWN_SECONDS, expires - now), version=version)
        return caller

    def _remember(self, token: str, caller: Caller, *, seconds: float, version: int) -> None:
        """`version`: of the keys with which the token was verified."""
        if self._known_version != self._keys.version:
            self._known.clear()
            self._known_version = self._keys.version
        if seconds <= 0 or version != self._known_version:
            return
        self._known[_digest(token)] = caller, self._clock() + seconds
        if len(self._known) > self._max_known:
            self._known.popitem(last=False)


def read_token(token: str, algorithms: frozenset[str]) -> Presented:
    """The parts of a token, nothing of which is to be believed yet. Raises RefusedTokenError."""
    if len(token) > MAX_BYTES:
        raise RefusedTokenError(f"it has more than {MAX_BYTES} bytes")
    parts = _PARTS.fullmatch(token)
    if parts is None:
        raise RefusedTokenError("it is not three parts in base64url")
    header, payload, signature = map(_decoded, parts.groups())
    try:
        _, members = strict_json.members(header, _MAX_DEPTH)
        found = _HEADER.decode(header)
    except strict_json.InvalidJson as error:
        raise RefusedTokenError(f"the header {error.detail}") from None
    except msgspec.ValidationError as error:
        raise RefusedTokenError(f"a member of the header is missing or wrong: {error}") from None
    if refused := sorted(_REFUSED_MEMBERS & members.keys()):
        raise RefusedTokenError(f"the header has `{refused[0]}`")
    if found.alg not in algorithms:
        raise RefusedTokenError("`alg` is not in JWT_ALGORITHMS")
    if found.typ is not UNSET and found.typ.lower().removeprefix("application/") not in _TYPES:
        raise RefusedTokenError("`typ` is neither JWT nor at+jwt")
    signed = token.rpartition(".")[0].encode()
    return Presented(found.alg, None if found.kid is UNSET else found.kid, signed, payload, signature)


def is_signed_with(key: SigningKey, presented: Presented) -> bool:
    """Whether a token has the signature of a key that is for its algorithm."""
    if presented.algorithm not in key.algorithms:
        return False
    algorithm = _SIGNATURES.get_algorithm_by_name(presented.algorithm)
    return algorithm.verify(presented.signed, key.public, presented.signature)


def _digest(token: str) -> bytes:
    digest = _SHA256.copy()  # cheaper than another `hashlib.sha256()`
    digest.update(token.encode())
    return digest.digest()


def _decoded(part: str) -> bytes:
    """Of a number of bytes there is exactly one text: a token that differs in unused bits is another token."""
    try:
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise RefusedTokenError("a part of it is not base64url") from None
    if base64.urlsafe_b64encode(content).rstrip(b"=") != part.encode():
        raise RefusedTokenError("a part of it is not base64url")
    return content
