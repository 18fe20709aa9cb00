"""Numbers of a JSON text as PostgreSQL's jsonb writes them: without an exponent, with every digit.

`1e131071` has 8 bytes as it is sent and 131,072 as it is read from a table. Ordinary texts are recognized by fast tests
that may only have false positives.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
# jsonb's limits. A number is far from both if it has no run of 100 digits and at most four exponent digits.
MAX_DIGITS_BEFORE_POINT = 131_072
MAX_DIGITS_AFTER_POINT = 16_383

_NUMBER = re.compile(rb"([0-9]++)(?:\.([0-9]++))?+(?:[eE]([-+]?[0-9]++))?+")
_EXPONENTS = re.compile(rb"[eE]([-+]?[0-9]++)")
_MAX_EXPONENT_DIGITS = 7
# A sign is taken for a digit: to delete it would cost more than the rest of the test.
_ALIKE = bytes.maketrans(b"123456789E+-", b"000000000e00")
_EXPONENT, _LONG_EXPONENT = b"0e0", b"0e00000"
_LONG_RUN = b"0" * 100
_SHORT = 2_000
_LONG_NUMBER = re.compile(rb"[\[:, \t\r\n](?:0++(?:\.0++)?+e00000|[0.]{100})")
# By how many bytes a number with an exponent of so many digits can grow; the last is for five and more.
_MOST_GROWTH = {b"0e0": 100, b"0e000": 1_000, b"0e0000": 10_000, b"0e00000": 147_500}
_POINT = len("0.")


def wrong_numbers(text: bytes, max_bytes: int) -> Literal["number_out_of_range", "event_too_large"] | None:
    """What is wrong with the numbers of a text, which must be valid JSON.

    Either jsonb cannot hold one of them, or exponents make the text longer than `max_bytes` when jsonb writes its
    numbers. A text without exponents may have any length. A number that becomes shorter counts as it is. jsonb also
    adds blanks after `:` and `,`, which do not count: with them a text is at most half as long again.
    """
    alike = text.translate(_ALIKE)
    has_exponent = alike.find(_EXPONENT) >= 0  # several times faster than bytes `in` bytes
    may_be_long = (has_exponent and _LONG_EXPONENT in alike) or (len(alike) > _SHORT and _LONG_RUN in alike)
    if may_be_long and _any_is_out_of_range(text, alike):
        return "number_out_of_range"
    if has_exponent and len(alike) + alike.count(_EXPONENT) * _MOST_GROWTH[_LONG_EXPONENT] > max_bytes:
        return "event_too_large" if _exceed(text, alike, max_bytes) else None
    return None


def written_out_exceeds(text: bytes, max_bytes: int) -> bool:
    """Whether a text, which must be valid JSON, has more than `max_bytes` when jsonb writes its numbers."""
    if len(text) > max_bytes:
        return True
    if len(text) <= _SHORT and text.translate(_ALIKE).find(_EXPONENT) < 0:
        return False
    return wrong_numbers(text, max_bytes) is not None


def _any_is_out_of_range(text: bytes, alike: bytes) -> bool:
    # Many UUIDs contain what could be an exponent, but do not begin like a number.
    return _LONG_NUMBER.search(b" " + alike) is not None and any(
        _is_out_of_range(*number.groups(default=b""))
        for number in _NUMBER.finditer(STRING.sub(b"", text))
        if number[3] is not None or number.end() - number.start() >= len(_LONG_RUN)
    )


def _exceed(text: bytes, alike: bytes, max_bytes: int) -> bool:
    size = len(text)
    if size + sum(alike.count(one) * growth for one, growth in _MOST_GROWTH.items()) <= max_bytes:
        return False
    bare = STRING.sub(b"", text)
    by_exponent = Counter(_EXPONENTS.findall(bare))
    if size + sum(count * (abs(_shift(one)) + _POINT) for one, count in by_exponent.items()) <= max_bytes:
        return False
    for number in _NUMBER.finditer(bare):
        if number[3] is not None:
            size += max(_written_bytes(*number.groups(default=b"")) - (number.end() - number.start()), 0)
            if size > max_bytes:
                return True
    return False


def _shift(exponent: bytes) -> int:
    """An exponent as a number. It may have any number of leading zeros, but `int` reads no more than 4,300 digits."""
    digits = exponent.lstrip(b"+-0")
    if len(digits) > _MAX_EXPONENT_DIGITS:
        digits = b"9" * (_MAX_EXPONENT_DIGITS + 1)
    return int(digits or b"0") * (-1 if exponent.startswith(b"-") else 1)


def _digits(whole: bytes, fraction: bytes, shift: int) -> tuple[int, int]:
    """How many digits jsonb writes before and after the decimal point."""
    digits = whole + fraction
    significant = digits.lstrip(b"0")
    before = len(whole) - (len(digits) - len(significant)) + shift if significant else 0
    return before, len(fraction) - shift


def _is_out_of_range(whole: bytes, fraction: bytes, exponent: bytes) -> bool:
    shift = _shift(exponent)
    if abs(shift) >= 10**_MAX_EXPONENT_DIGITS:
        return True
    before, after = _digits(whole, fraction, shift)
    return before > MAX_DIGITS_BEFORE_POINT or after > MAX_DIGITS_AFTER_POINT


def _written_bytes(whole: bytes, fraction: bytes, exponent: bytes) -> int:
    before, after = _digits(whole, fraction, _shift(exponent))
    return max(before, 1) + (after + 1 if after > 0 else 0)
