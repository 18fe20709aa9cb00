"""What the claims of a token say: who calls, until when, with which scopes and patterns. No claim, no right."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from headrace.access.caller import Caller
from headrace.access.grant import Allowed, grant_of
from headrace.access.scopes import Scope
from headrace.errors import HeadraceError
from headrace.events import strict_json

SKEW_SECONDS = 60.0
"""How far the clocks of the issuer and of this machine may differ."""
MAX_TIME = 253_402_300_799
"""The end of the year 9999."""
MAX_NAME = 128

_MAX_DEPTH = 64
_CUT = "…"
_CUT_AT = 100
_SCOPES = {str(scope): scope for scope in Scope}


class RefusedTokenError(HeadraceError):
    """The token is not valid. The message says why, and repeats nothing of the token."""


class ClaimNames(NamedTuple):
    """The claims that carry rights. An empty name: the claim is not read, and nothing of its kind is limited."""

    scopes: str = "scope"
    scopes_prefix: str = ""
    """What scopes of Headrace begin with in the token."""
    sources: str = ""
    subjects: str = ""
    types: str = ""


class Expected(NamedTuple):
    """What a token must be for."""

    issuer: str
    audience: str


class Verified(NamedTuple):
    """A token that is valid now."""

    caller: Caller
    expires: float
    """Seconds since 1970."""


class _Claims(msgspec.Struct):
    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    nbf: float | UnsetType = UNSET
    iat: float | UnsetType = UNSET


_CLAIMS = msgspec.json.Decoder(_Claims)
_PATTERNS = msgspec.json.Decoder(list[str])
_SCOPE_NAMES = msgspec.json.Decoder(str | list[str])


def verified(payload: bytes, expected: Expected, names: ClaimNames, now: float) -> Verified:
    """What a signed payload says at the time `now`, in seconds since 1970. Raises RefusedTokenError."""
    try:
        _, members = strict_json.members(payload, _MAX_DEPTH)
        claims = _CLAIMS.decode(payload)
    except strict_json.InvalidJson as error:
        raise RefusedTokenError(f"the payload {error.detail}") from None
    except msgspec.ValidationError as error:
        raise RefusedTokenError(f"a registered claim is missing or wrong: {error}") from None
    if claims.iss != expected.issuer:
        raise RefusedTokenError("`iss` is not JWT_ISSUER")
    if expected.audience not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
        raise RefusedTokenError("`aud` lacks JWT_AUDIENCE")
    if not claims.sub:
        raise RefusedTokenError("`sub` is empty")
    _check_times(claims, now)
    grant = grant_of(
        _allowed(members, names.sources), _allowed(members, names.subjects), _allowed(members, names.types)
    )
    name = _printable(claims.sub)
    return Verified(Caller(f"jwt:{name}", name, _scopes(members, names), grant), claims.exp)


def _check_times(claims: _Claims, now: float) -> None:
    for name in ("exp", "nbf", "iat"):
        time = getattr(claims, name)
        if time is not UNSET and not 0 <= time <= MAX_TIME:
            raise RefusedTokenError(f"`{name}` is not a time in seconds since 1970")
    if claims.exp <= now - SKEW_SECONDS:
        raise RefusedTokenError("it has expired (`exp`)")
    for name in ("nbf", "iat"):
        time = getattr(claims, name)
        if time is not UNSET and time > now + SKEW_SECONDS:
            raise RefusedTokenError(f"it is not valid yet (`{name}`)")


def _scopes(members: dict[str, msgspec.Raw], names: ClaimNames) -> frozenset[Scope]:
    claim = members.get(names.scopes)
    if claim is None:
        return frozenset()
    try:
        found = _SCOPE_NAMES.decode(claim)
    except msgspec.ValidationError:
        raise RefusedTokenError("the claim JWT_SCOPES_CLAIM is neither a string nor a list of strings") from None
    given = found.split(" ") if isinstance(found, str) else found
    prefix = names.scopes_prefix
    mine = {name.removeprefix(prefix) for name in given if name.startswith(prefix)}
    return frozenset(_SCOPES[name] for name in mine & _SCOPES.keys())


def _allowed(members: dict[str, msgspec.Raw], name: str) -> Allowed | None:
    """The values that a claim allows: all where no claim is configured, none where the token lacks it."""
    if not name:
        return None
    claim = members.get(name)
    if claim is None:
        return Allowed((), frozenset())
    try:
        patterns = _PATTERNS.decode(claim)
    except msgspec.ValidationError:
        patterns = [""]
    if not all(patterns):
        raise RefusedTokenError("a claim with patterns is not a list of strings, none of which is empty")
    return Allowed.of(tuple(patterns))


def _printable(subject: str) -> str:
    """The subject as it stands in logs. A text that is cut or escaped has a digest, so that no two are the same."""
    if subject.isprintable() and len(subject) <= MAX_NAME and _CUT not in subject:
        return subject
    shown = subject if subject.isprintable() else subject.encode("unicode_escape").decode("ascii")
    return f"{shown[:_CUT_AT]}{_CUT}{hashlib.sha256(subject.encode()).hexdigest()[:16]}"
