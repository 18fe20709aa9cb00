"""A JWK set (RFC 7517): which of its keys may verify tokens, and by which algorithms."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from msgspec import UNSET, UnsetType

from headrace.access.algorithms import FITTING
from headrace.errors import HeadraceError
from headrace.events import strict_json
from headrace.process.terminal import escaped

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

MAX_BYTES = 65_536
MAX_KEYS = 100
MIN_RSA_BITS = 2_048
# Larger keys make each verification slow.
MAX_RSA_BITS = 8_192
LARGE_RSA_BITS = 4_096
MIN_RSA_EXPONENT, MAX_RSA_EXPONENT = 65_537, 2**32

_MAX_DEPTH = 8
_MAX_SHOWN = 40
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_SLOW_ALGORITHMS = frozenset({"ES384"})


class InvalidKeySetError(HeadraceError):
    """The document is not a JWK set."""


class SigningKey(NamedTuple):
    """A public key that verifies tokens."""

    kid: str | None
    algorithms: frozenset[str]
    """That fit its type and curve, its `alg`, and what was configured."""
    public: AllowedPublicKeys
    is_slow: bool
    """Whether a verification is so slow that it must not block the event loop."""


class IgnoredKey(NamedTuple):
    """A key of a set that verifies nothing."""

    name: str
    reason: str
    is_expected: bool
    """Whether it is for another purpose, and not wrong in itself."""


class KeySet(NamedTuple):
    """The keys of a set."""

    keys: tuple[SigningKey, ...]
    ignored: tuple[IgnoredKey, ...]

    def has(self, kid: str | None) -> bool:
        """Whether there may be a key for a token with this `kid`; a newer set cannot help a token without one."""
        return kid is None or any(key.kid == kid for key in self.keys)

    def find(self, kid: str | None, algorithm: str) -> SigningKey | None:
        """The key of a token. A token without `kid` has one only where a single key fits its algorithm."""
        fitting = [key for key in self.keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None


class _UnusableKeyError(Exception):
    def __init__(self, reason: str, *, is_expected: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_expected = is_expected


class _Jwk(msgspec.Struct):
    """The public members that are read of a key."""

    kty: str
    kid: str | UnsetType = UNSET
    use: str | UnsetType = UNSET
    alg: str | UnsetType = UNSET
    key_ops: list[str] | UnsetType = UNSET
    crv: str | UnsetType = UNSET
    n: str | UnsetType = UNSET
    e: str | UnsetType = UNSET
    x: str | UnsetType = UNSET
    y: str | UnsetType = UNSET


def read_key_set(body: bytes, algorithms: frozenset[str]) -> KeySet:
    """The keys of a JSON document that may be used with `algorithms`. Raises InvalidKeySetError.

    What is wrong with a single key, such as a `kid` that another key has too, excludes that key.
    """
    try:
        _, found = strict_json.members(body, _MAX_DEPTH)
        entries = strict_json.elements(bytes(found["keys"]), MAX_BYTES)
    except strict_json.InvalidJson as error:
        raise InvalidKeySetError(f"is no JWK set: it {error.detail}") from None
    except KeyError:
        raise InvalidKeySetError("is no JWK set: it has no `keys`") from None
    if len(entries) > MAX_KEYS:
        raise InvalidKeySetError(f"has more than {MAX_KEYS} keys")
    keys: list[SigningKey] = []
    ignored: list[IgnoredKey] = []
    for number, entry in enumerate(map(bytes, entries), start=1):
        try:
            keys.append(_key(entry, algorithms))
        except _UnusableKeyError as error:
            ignored.append(IgnoredKey(_name(entry, number), error.reason, error.is_expected))
    shared = {kid for kid, count in Counter(_kids(entries)).items() if count > 1}
    ignored += [
        IgnoredKey(_shown(key.kid), "another key has the same `kid`", is_expected=False)
        for key in keys
        if key.kid in shared
    ]
    return KeySet(tuple(key for key in keys if key.kid not in shared), tuple(ignored))


def _key(entry: bytes, algorithms: frozenset[str]) -> SigningKey:
    try:
        _, members = strict_json.members(entry, _MAX_DEPTH)
        jwk = msgspec.json.decode(entry, type=_Jwk)
    except strict_json.InvalidJson as error:
        raise _UnusableKeyError(f"it {error.detail}") from None
    except msgspec.ValidationError as error:
        raise _UnusableKeyError(f"it is no JWK: {error}") from None
    if private := sorted(_PRIVATE & members.keys()):
        raise _UnusableKeyError(f"it has the private member `{private[0]}`: such a key must not be published")
    fitting = _fitting(jwk) & algorithms
    if not fitting:
        raise _UnusableKeyError("it is for none of JWT_ALGORITHMS", is_expected=True)
    public = _public(jwk, min(fitting))
    is_large = isinstance(public, RSAPublicKey) and public.key_size > LARGE_RSA_BITS
    kid = None if jwk.kid is UNSET else jwk.kid
    return SigningKey(kid, fitting, public, is_large or not fitting.isdisjoint(_SLOW_ALGORITHMS))


def _fitting(jwk: _Jwk) -> frozenset[str]:
    """The algorithms that a key is for."""
    if jwk.use not in {UNSET, "sig"}:
        raise _UnusableKeyError("its `use` is not `sig`", is_expected=True)
    if jwk.key_ops is not UNSET and "verify" not in jwk.key_ops:
        raise _UnusableKeyError("its `key_ops` lack `verify`", is_expected=True)
    if jwk.kty == "oct":
        raise _UnusableKeyError("it is symmetric")
    curve = None if jwk.crv is UNSET else jwk.crv
    fitting = FITTING.get((jwk.kty, curve), frozenset())
    return fitting if jwk.alg is UNSET else fitting & {jwk.alg}


def _public(jwk: _Jwk, algorithm: str) -> AllowedPublicKeys:
    numbers = {name: getattr(jwk, name) for name in ("n", "e", "x", "y") if getattr(jwk, name) is not UNSET}
    if not all(map(_BASE64URL.fullmatch, numbers.values())):
        raise _UnusableKeyError("its numbers are not in base64url")
    parts = {"kty": jwk.kty, **numbers} | ({} if jwk.crv is UNSET else {"crv": jwk.crv})
    try:
        public = cast("AllowedPublicKeys", PyJWK(parts, algorithm).key)
    except (PyJWTError, ValueError, OverflowError, UnsupportedAlgorithm):
        raise _UnusableKeyError("its numbers are not a key") from None
    if isinstance(public, RSAPublicKey):
        if not MIN_RSA_BITS <= public.key_size <= MAX_RSA_BITS:
            raise _UnusableKeyError(f"it has {public.key_size} bits; allowed: {MIN_RSA_BITS} to {MAX_RSA_BITS}")
        if not MIN_RSA_EXPONENT <= public.public_numbers().e <= MAX_RSA_EXPONENT:
            raise _UnusableKeyError(f"its exponent is not between {MIN_RSA_EXPONENT} and {MAX_RSA_EXPONENT}")
    return public


class _Named(msgspec.Struct):
    kid: str | UnsetType = UNSET


def _kids(entries: list[msgspec.Raw]) -> list[str]:
    """The names of all keys, usable or not: a name must not depend on which of two keys is usable."""
    named = (_kid(bytes(entry)) for entry in entries)
    return [kid for kid in named if kid is not None]


def _kid(entry: bytes) -> str | None:
    try:
        kid = msgspec.json.decode(entry, type=_Named).kid
    except msgspec.DecodeError:
        return None
    return None if kid is UNSET else kid


def _name(entry: bytes, number: int) -> str:
    kid = _kid(entry)
    return f"number {number}" if kid is None else _shown(kid)


def _shown(kid: str | None) -> str:
    return escaped(kid or "")[:_MAX_SHOWN]
