"""Text of others on a terminal: nothing that a terminal would obey, and no secrets."""

from __future__ import annotations

import re

from headrace.process.secrets import without_secrets

# Control characters, separators of lines, signs that change the direction of text, and halves of characters.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str) -> str:
    """The text on one line, with nothing that a terminal would obey."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def printable(*lines: str) -> str:
    """Lines to print. What is in a line cannot end it, change its direction or show a secret."""
    return "\n".join(escaped(without_secrets(line)) for line in lines)
