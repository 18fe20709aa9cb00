"""What a new key may be: its name, scopes, patterns and expiry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from headrace.access.scopes import Scope
from headrace.errors import HeadraceError

MOST_DAYS = 365
MOST_PATTERNS = 100
MOST_CHARACTERS = 1_024
MOST_NAME_CHARACTERS = 100
DEFAULT_EXPIRES = f"{MOST_DAYS}d"
DEFAULT_OVERLAP = "7d"
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
DURATION_IN_WORDS = "a number and d, h or m for days, hours or minutes, such as 90d"

_DURATION = re.compile(r"(0|[1-9][0-9]{0,5})([dhm])").fullmatch
_CERTIFICATE = re.compile(r"(?:dns|uri|email):.+").fullmatch
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search


class InvalidKeyError(HeadraceError):
    """A key cannot be made as asked."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.detail = message


class KeyRequest(NamedTuple):
    """A key to make; `checked` makes it."""

    name: str
    scopes: tuple[Scope, ...]
    sources: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    certificate: str | None = None
    expires: timedelta = UNITS["d"] * MOST_DAYS


def checked(
    name: str,
    scopes: Sequence[str],
    *,
    sources: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    certificate: str | None = None,
    expires: str = DEFAULT_EXPIRES,
) -> KeyRequest:
    """A key as asked for. Raises InvalidKeyError, which names the field and what is allowed."""
    if not name.strip() or len(name) > MOST_NAME_CHARACTERS or _UNSAFE(name):
        raise InvalidKeyError("name", f"1 to {MOST_NAME_CHARACTERS} characters, without control characters")
    if certificate is not None and (
        not _CERTIFICATE(certificate) or len(certificate) > MOST_CHARACTERS or _UNSAFE(certificate)
    ):
        text = "a subject alternative name: dns:device-1.example.com, uri:spiffe://example.com/device-1 or email:a@b.c"
        raise InvalidKeyError("certificate", text)
    return KeyRequest(
        name,
        _scopes(scopes),
        _patterns("sources", sources),
        _patterns("subjects", subjects),
        _patterns("types", types),
        certificate.lower() if certificate is not None and certificate.startswith("dns:") else certificate,
        duration("expires", expires, least=UNITS["m"]),
    )


def duration(field: str, text: str, *, least: timedelta = timedelta(0)) -> timedelta:
    """A duration of at most MOST_DAYS. Raises InvalidKeyError."""
    found = _DURATION(text)
    value = int(found[1]) * UNITS[found[2]] if found else None
    if value is None or not least <= value <= UNITS["d"] * MOST_DAYS:
        raise InvalidKeyError(field, f"{DURATION_IN_WORDS}; at most {MOST_DAYS}d, at least {least.seconds // 60}m")
    return value


def _scopes(given: Sequence[str]) -> tuple[Scope, ...]:
    known = [scope.value for scope in Scope]
    if not given or not set(given) <= set(known):
        raise InvalidKeyError("scopes", f"one or more of {', '.join(known)}")
    return tuple(scope for scope in Scope if scope.value in given)


def _patterns(field: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not 0 < len(given) <= MOST_PATTERNS or any(
        not one or len(one) > MOST_CHARACTERS or _UNSAFE(one) for one in given
    ):
        text = f"1 to {MOST_PATTERNS} prefixes that end in /, or exact values; left out: all"
        raise InvalidKeyError(field, text)
    return tuple(dict.fromkeys(given))
