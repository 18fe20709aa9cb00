"""What is kept of an exception of a projection's function: its text, and its place in the code."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from traceback import walk_tb
from typing import Any

from headrace.events import data_decoder

MAX_REASON_CHARACTERS = 2_000
MAX_FRAMES = 10
_OWN = (__file__.rpartition("/")[0] + "/", data_decoder.__file__)
"""The code between a user's functions and what catches their errors."""


def reason(error: BaseException) -> str:
    """The error text that is stored with a parked event: at most 2,000 characters, valid in PostgreSQL."""
    try:
        text = f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - even the `__str__` of a user's exception may raise
        text = type(error).__name__
    return _storable(text[:MAX_REASON_CHARACTERS])


def traceback_of(error: BaseException) -> str | None:
    """The last frames outside of Headrace's fold, a line each, the innermost last; None if there are none.

    Files, lines and functions alone: values of an event are not in it.
    """
    frames: deque[tuple[str, int, str]] = deque(maxlen=MAX_FRAMES)
    for frame, line in walk_tb(error.__traceback__):
        code = frame.f_code
        if not code.co_filename.startswith(_OWN):
            frames.append((code.co_filename, line, code.co_qualname))
    return _storable("\n".join(_line(*frame) for frame in frames)) if frames else None


def place_of(function: Callable[..., Any]) -> str | None:
    """Where a function is defined, as a line of `traceback_of`; None if it is not written in Python."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    return _storable(_line(code.co_filename, code.co_firstlineno, code.co_qualname))


def _line(file: str, line: int, function: str) -> str:
    return f'File "{file}", line {line}, in {function}'


def _storable(text: str) -> str:
    return text.replace("\0", "").encode(errors="replace").decode()
