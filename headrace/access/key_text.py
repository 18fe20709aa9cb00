"""The text of an API key: `hr_{id}_{secret}{checksum}`.

The prefix lets scanners of repositories find a key that leaked, and the checksum lets them and us tell it from other
texts without a query. The secret is shown once; what is stored is the SHA-256 of the whole text. It needs no salt and
no slow hash, because 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import NamedTuple

PREFIX = "hr_"
ID_CHARACTERS = 12
SECRET_BYTES = 32
SECRET_CHARACTERS = 43
"""What SECRET_BYTES take in base62."""
CHECKSUM_CHARACTERS = 6
KEY_CHARACTERS = len(PREFIX) + ID_CHARACTERS + 1 + SECRET_CHARACTERS + CHECKSUM_CHARACTERS
ID_END = len(PREFIX) + ID_CHARACTERS

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ID_PATTERN = rf"[0-9a-z]{{{ID_CHARACTERS}}}"
FIXED_WIDTH = rf"{PREFIX}({ID_PATTERN})_[0-9A-Za-z]{{{SECRET_CHARACTERS + CHECKSUM_CHARACTERS}}}"

_KEY = re.compile(FIXED_WIDTH).fullmatch
_IN_A_TEXT = re.compile(FIXED_WIDTH).search
# Also a key that was cut, or that runs into the next word: no character of a secret is shown.
_TO_HIDE = re.compile(rf"{PREFIX}({ID_PATTERN})_[0-9A-Za-z]+")


class NewSecret(NamedTuple):
    """A key that was just made."""

    id: str
    key: str
    """The whole text, which is shown once."""


def make() -> NewSecret:
    """A new key with a random id and a random secret."""
    key_id = "".join(secrets.choice(ID_DIGITS) for _ in range(ID_CHARACTERS))
    secret = _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_CHARACTERS)
    body = f"{PREFIX}{key_id}_{secret}"
    return NewSecret(key_id, body + _checksum(body))


def is_like_key(text: str) -> bool:
    """Whether the text has the form of a key, whatever its checksum; cheap."""
    return len(text) == KEY_CHARACTERS and text.startswith(PREFIX)


def id_of(text: str) -> str | None:
    """The id in a key; None if the text is no key, or its checksum is wrong."""
    found = _KEY(text)
    if found is None or text[-CHECKSUM_CHARACTERS:] != _checksum(text[:-CHECKSUM_CHARACTERS]):
        return None
    return found[1]


def is_key(text: str) -> bool:
    """Whether the text is a key with a right checksum; nobody knows whether it was ever given out."""
    return id_of(text) is not None


def has_key(text: str) -> bool:
    """Whether a text of the form of a key is anywhere in this text."""
    return PREFIX in text and _IN_A_TEXT(text) is not None


def digest(key: str) -> bytes:
    """What is stored of a key: the SHA-256 of its whole text."""
    return hashlib.sha256(key.encode()).digest()


def without_keys(text: str) -> str:
    """The text with `hr_{id}_…` for each key in it: the id is no secret, and finds the key."""
    return _TO_HIDE.sub(rf"{PREFIX}\1_…", text) if PREFIX in text else text


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_CHARACTERS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))
