"""Where `data` does not match its type: a JSON pointer from msgspec's message."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

_PLACE = " - at `"
_OF_A_KEY = "key` in `"
_MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`( - at |\Z)", re.DOTALL)
# msgspec does not name the key of a mapping, so each key is tried.
_ANY_KEY = "[...]"
_MAX_KEYS_TRIED = 1_000
_MAX_BYTES_TRIED = 500_000

_encode = msgspec.json.Encoder().encode


def pointer_to_misfit(message: str, data: bytes, check: Callable[[bytes], object]) -> str:
    """The pointer into the event to the place for which `check` raised a ValidationError with this message.

    A missing member has the pointer that it would have. If the exact place is unknown, the pointer leads to the
    closest known parent.
    """
    _, _, place = message.rpartition(_PLACE)
    path = place.removesuffix("`").removeprefix(_OF_A_KEY).removeprefix("$") if _PLACE in message else ""
    steps = _steps(path, _decode(data), message, check) if path else []
    if (missing := _MISSING.match(message)) is not None:
        steps.append(missing["name"])
    return pointer_to_member(*steps)


def pointer_to_member(*path: str) -> str:
    """The pointer into the event to a member of `data`."""
    return "/data" + "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in path)


def detail_of(message: str) -> str:
    """msgspec's message without the place."""
    return message.partition(_PLACE)[0]


def _decode(data: bytes) -> Any:
    """The document, with its numbers as text: they may be too large for Python, and are the fault that is sought."""
    try:
        return json.loads(data, parse_int=_as_text, parse_float=_as_text)
    except RecursionError:
        return None


def _as_text(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


def _steps(path: str, document: Any, message: str, check: Callable[[bytes], object]) -> list[str]:
    steps: list[str] = []
    value = document
    while path:
        if path.startswith(_ANY_KEY):
            step, rest = _failing_key(value, document, message, check), path[len(_ANY_KEY) :]
        elif path.startswith("["):
            step, _, rest = path[1:].partition("]")
        else:
            step, rest = _name_at_start(path[1:], value)
        try:
            value = value[int(step)] if isinstance(value, list) and step is not None else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            break
        steps.append(str(step))
        path = rest
    return steps


def _name_at_start(path: str, value: Any) -> tuple[str | None, str]:
    """The member at the start of the path; names may contain dots and brackets, so the longest match counts."""
    names = [name for name in value if path.startswith(name)] if isinstance(value, dict) else []
    for name in sorted(names, key=len, reverse=True):
        rest = path[len(name) :]
        if not rest or rest[0] in ".[":
            return name, rest
    return None, ""


def _failing_key(mapping: Any, document: Any, message: str, check: Callable[[bytes], object]) -> str | None:
    """The key that, alone in the mapping, causes the same message."""
    if not isinstance(mapping, dict) or len(mapping) > _MAX_KEYS_TRIED:
        return None
    members = dict(mapping)
    left = _MAX_BYTES_TRIED
    try:
        for key, value in members.items():
            mapping.clear()
            mapping[key] = value
            tried = _encode(document)
            left -= len(tried)
            if left < 0:
                return None
            try:
                check(tried)
            except Exception as error:  # noqa: BLE001 - the check is a user's data type
                if str(error) == message:
                    return str(key)
    finally:
        mapping.clear()
        mapping.update(members)
    return None
