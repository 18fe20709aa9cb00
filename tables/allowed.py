"""What a caller may touch as conditions: an attribute that a grant limits is allowed, or the row is not there.

As `headrace.access.grant.Allowed.has`: texts are compared by their code points. All patterns are arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headrace.access.grant import Allowed, Grant
from tables.database import can_hold

Argument = Callable[[str | list[str]], str]
"""Adds an argument to a statement and returns its placeholder."""

EXACT = "{text} = ANY ({values}::text[])"
# Ranges, because an index serves them in every plan. The column or the expression is of COLLATE "C".
BEGINS = "({text} >= {prefix}::text AND {text} < {end}::text)"
BEGINS_AT_LAST = "{text} >= {prefix}::text"
NONE = "false"
SURROGATES, AFTER_SURROGATES = 0xD800, 0xE000


class Columns(NamedTuple):
    """Where a statement has the attributes of an event."""

    source: str
    subject: str
    type: str


class Owners(NamedTuple):
    """Whose rows of a projection a caller may read: those whose subject is allowed."""

    member: str | tuple[str, ...]
    """Has the subject: a member of the state, or the members that lead to it; `()` is the row's key."""
    allowed: Allowed


class Arguments(list[str | list[str]]):
    """The arguments that are added to a statement, which has so many `before` them."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self._before = before

    def add(self, value: str | list[str]) -> str:
        """The placeholder of a value."""
        self.append(value)
        return f"${len(self) + self._before}"


def conditions(grant: Grant | None, columns: Columns, argument: Argument) -> Sequence[str]:
    """A condition for each attribute that the grant limits; none for None. NULL is never allowed."""
    if grant is None:
        return ()
    limits = zip(columns, (grant.sources, grant.subjects, grant.types), strict=True)
    return [condition(text, allowed, argument) for text, allowed in limits if allowed is not None]


def condition(text: str, allowed: Allowed, argument: Argument) -> str:
    """That a text, an SQL expression of COLLATE "C", is allowed."""
    exact = [one for one in sorted(allowed.exact) if can_hold(one)]
    found = [EXACT.format(text=text, values=argument(exact))] if exact else []
    for prefix in allowed.prefixes:
        if not can_hold(prefix):
            continue  # no text in PostgreSQL begins with it
        end = end_of_prefix(prefix)
        begins = BEGINS_AT_LAST if end is None else BEGINS
        found.append(begins.format(text=text, prefix=argument(prefix), end="" if end is None else argument(end)))
    return f"({' OR '.join(found)})" if found else NONE


def end_of_prefix(prefix: str) -> str | None:
    """The least text, by code points, after all texts with this prefix; None if there is none."""
    for length in range(len(prefix), 0, -1):
        following = ord(prefix[length - 1]) + 1
        if following <= sys.maxunicode:
            return prefix[: length - 1] + chr(AFTER_SURROGATES if following == SURROGATES else following)
    return None
