"""Where two states differ: a JSON pointer to the first member that does, with both values, and how many others do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

MAX_VALUE_CHARACTERS = 120
MAX_POINTER_CHARACTERS = 200

ABSENT = object()


class MemberDifference(NamedTuple):
    """A member that differs; ABSENT where a state does not have it."""

    pointer: str
    row: Any
    fold: Any


def read(text: str) -> Any:
    """A state whose numbers are compared by value."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def ordered(value: Any) -> Any:
    """A value with all its arrays in one order."""
    if isinstance(value, dict):
        return {name: ordered(one) for name, one in value.items()}
    return sorted(map(ordered, value), key=repr) if isinstance(value, list) else value


def described(row: str, fold: str) -> str:
    """What differs between two states that are not the same."""
    found = list(_differences(read(row), read(fold)))
    # An array that has only another order may be a set; it is named if nothing else differs.
    first = next((one for one in found if ordered(one.row) != ordered(one.fold)), found[0])
    others = f"; other members that differ: {len(found) - 1}" if len(found) > 1 else ""
    pointer = _cut(first.pointer, MAX_POINTER_CHARACTERS) or "the state"
    return f"{pointer} is {_shown(first.row)}; in the fold {_shown(first.fold)}{others}"


def _differences(row: Any, fold: Any, pointer: str = "") -> Iterator[MemberDifference]:
    if isinstance(row, dict) and isinstance(fold, dict):
        for name in [*row, *(name for name in fold if name not in row)]:
            below = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            yield from _differences(row.get(name, ABSENT), fold.get(name, ABSENT), below)
    elif isinstance(row, list) and isinstance(fold, list) and ordered(row) != ordered(fold):
        for index in range(max(len(row), len(fold))):
            one, other = (value[index] if index < len(value) else ABSENT for value in (row, fold))
            yield from _differences(one, other, f"{pointer}/{index}")
    elif row != fold:
        yield MemberDifference(pointer, row, fold)


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "absent"
    return _cut(_json(value), MAX_VALUE_CHARACTERS)


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {_json(one)}" for name, one in value.items())
            + "}"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
