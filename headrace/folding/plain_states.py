"""States that need not be decoded to know that their JSON can be: structs whose members are plain."""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import inspect

_CLASSES: list[tuple[inspect.Type, type]] = [
    (inspect.StrType(), str),
    (inspect.IntType(), int),
    (inspect.BoolType(), bool),
    (inspect.NoneType(), type(None)),
    (inspect.DecimalType(), Decimal),
]
MOST_REMEMBERED = 1_000
# As numbers, because bytes `in` bytes cost ten times as much.
_N, _I = b"NI"


class PlainStates:
    """The states of a struct type whose members are all unconstrained texts, integers, Decimals, booleans or null."""

    def __init__(self, struct: type[msgspec.Struct], allowed: dict[str, frozenset[type]]) -> None:
        self._struct = struct
        self._allowed = list(allowed.values())
        self._values = attrgetter(*allowed)
        self._known: set[tuple[type, ...]] = set()
        """The classes of the members of states that were checked, in order."""

    @classmethod
    def of(cls, state: Any) -> PlainStates | None:
        """None for a type of other members, or of less than two, or with a check of its own."""
        info = inspect.type_info(state)
        if not isinstance(info, inspect.StructType) or info.cls is not state or hasattr(state, "__post_init__"):
            return None
        allowed = {field.name: _classes(field.type) for field in info.fields}
        return cls(state, allowed) if len(allowed) > 1 and all(allowed.values()) else None

    def can_be_decoded(self, state: object, encoded: bytes) -> bool:
        """Whether this state's JSON can be decoded; False if only decoding can tell."""
        if type(state) is not self._struct or _has_non_finite(encoded):
            return False
        classes = tuple(map(type, self._values(state)))
        if classes in self._known:
            return True
        if not all(one in allowed for one, allowed in zip(classes, self._allowed, strict=True)):
            return False
        if len(self._known) < MOST_REMEMBERED:
            self._known.add(classes)
        return True


def _has_non_finite(encoded: bytes) -> bool:
    return (_N in encoded and b"NaN" in encoded) or (_I in encoded and b"Infinity" in encoded)


def _classes(found: inspect.Type) -> frozenset[type]:
    """The classes of a member's values; empty where the class does not tell whether the value is allowed."""
    kinds = found.types if isinstance(found, inspect.UnionType) else (found,)
    classes = [allowed for kind in kinds for plain, allowed in _CLASSES if kind == plain]
    return frozenset(classes) if len(classes) == len(kinds) else frozenset()
