"""The header `Prefer` (RFC 7240): what a client prefers of the answer. Unknown preferences are ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

HEADER = "Prefer"
APPLIED = "Preference-Applied"
MOST_WAIT_SECONDS = 60

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]++"  # noqa: S105 - a token of RFC 9110
_WORD = rf'(?:{_TOKEN}|"(?:[^"\\]|\\.)*+")'
_BETWEEN = re.compile(r"[ \t,]*+")
_PREFERENCE = re.compile(
    rf"(?P<name>{_TOKEN})(?:[ \t]*+=[ \t]*+(?P<value>{_WORD}))?+"
    rf"(?:[ \t]*+;(?:[ \t]*+{_TOKEN}(?:[ \t]*+=[ \t]*+{_WORD})?+)?+)*+[ \t]*+(?:,|$)"
)
_ESCAPED = re.compile(r"\\(.)")
_SECONDS = re.compile(r"[0-9]{1,9}")


class Preferences(NamedTuple):
    """The preferences that ingestion knows."""

    strict: bool = False
    """`handling=strict`: accept all events of a batch, or none."""
    wait_seconds: int | None = None
    """`wait=N`: how long the answer may wait until projections have applied the posted events."""

    def applied(self, *, waited: bool) -> dict[str, str]:
        """The header that names the preferences that the answer follows."""
        named = [*(["handling=strict"] if self.strict else []), *(["wait"] if waited else [])]
        return {APPLIED: ", ".join(named)} if named else {}


NO_PREFERENCES = Preferences()


def preferences(request: web.Request) -> Preferences:
    """What the request prefers; if a preference is repeated, the first counts."""
    if HEADER not in request.headers:
        return NO_PREFERENCES
    found = _read(",".join(request.headers.getall(HEADER)))
    wait = found.get("wait", "")
    return Preferences(
        strict=found.get("handling", "").lower() == "strict",
        wait_seconds=min(int(wait), MOST_WAIT_SECONDS) if _SECONDS.fullmatch(wait) else None,
    )


def _read(text: str) -> Mapping[str, str]:
    """Preferences by their names in lower case; "" where a preference has no value."""
    found: dict[str, str] = {}
    start = 0
    while (start := _end_of(_BETWEEN, text, start)) < len(text):
        match = _PREFERENCE.match(text, start)
        if match is None:
            # Malformed: continue after the next comma.
            start = (text.find(",", start) + 1) or len(text)
            continue
        value = match["value"] or ""
        if value.startswith('"'):
            value = _ESCAPED.sub(r"\1", value[1:-1])
        found.setdefault(match["name"].lower(), value)
        start = match.end()
    return found


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start
