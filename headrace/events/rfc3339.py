"""Times as RFC 3339 text: any offset in, UTC out, with every digit of the fraction kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from time import time_ns
from typing import Any

_SHAPE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]"
    r"((?:[01][0-9]|2[0-3]):[0-5][0-9]:)([0-5][0-9]|60)(\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
# The fast path for most clients: already canonical, and a date that needs no calendar (any but February 29).
_CANONICAL = re.compile(
    r"(?!0000)[0-9]{4}-"
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?Z"
)
_ALLOWED = (
    "must be an RFC 3339 time such as 2026-01-31T12:00:00Z or 2026-01-31T13:00:00.5+01:00, "
    "in the years 0001 to 9999 both as written and in UTC"
)
_LAST_SECOND = time(23, 59, 59)
_MICROSECOND_DIGITS = 6


def to_utc(text: str) -> str:
    """Convert an RFC 3339 time to UTC, `YYYY-MM-DDTHH:MM:SS[.fraction]Z`, with an unchanged fraction.

    A leap second (`:60`, allowed only at 23:59:60 UTC) becomes the second that follows it. Any other text, or a time
    outside years 1 to 9999, raises ValueError. Its message says what is allowed and does not repeat the text.
    """
    if _CANONICAL.fullmatch(text):
        return text
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise ValueError(_ALLOWED)
    date, clock, second, fraction, sign, hours, minutes = match.groups()
    is_leap = second == "60"
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{'59' if is_leap else second}")
        if sign is not None:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            moment = moment - offset if sign == "+" else moment + offset
        if is_leap:
            moment = _after_leap_second(moment)
    except (ValueError, OverflowError):
        raise ValueError(_ALLOWED) from None
    return f"{moment.isoformat()}{fraction or ''}Z"


def _after_leap_second(second_before: datetime) -> datetime:
    if second_before.time() != _LAST_SECOND:
        raise ValueError(_ALLOWED)
    return second_before + timedelta(seconds=1)


def instant(utc: str) -> str:
    """Return a key that sorts the results of `to_utc` by time, and is equal for equal times (`00.5Z`, `00.50Z`)."""
    digits = utc[:-1]
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def earlier(one: str, other: str, key: Callable[[str], Any] = instant) -> str:
    """`min(one, other, key=key)`, where the key sorts texts of one length as they are, as `instant` does."""
    return min(one, other) if len(one) == len(other) else min(one, other, key=key)


def later(one: str, other: str, key: Callable[[str], Any] = instant) -> str:
    """`max(one, other, key=key)`, for the same keys."""
    return max(one, other) if len(one) == len(other) else max(one, other, key=key)


def to_microseconds(utc: str) -> str:
    """Truncate a result of `to_utc` to six digits of fraction. PostgreSQL would round, possibly to year 10000."""
    seconds, _, fraction = utc.partition(".")
    if len(fraction) <= _MICROSECOND_DIGITS + len("Z"):
        return utc
    return f"{seconds}.{fraction[:_MICROSECOND_DIGITS]}Z"


def now() -> str:
    """Return the current time in UTC, with six digits of fraction."""
    seconds, microseconds = divmod(time_ns() // 1_000, 1_000_000)
    return f"{_to_the_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
