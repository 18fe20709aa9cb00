"""Which events a caller may write and read, by prefixes of three attributes."""

from __future__ import annotations

from typing import NamedTuple

MOST_NAMED = 10
"""So many prefixes and values are named in a refusal."""


class Allowed(NamedTuple):
    """The values of one attribute that are allowed: those that begin with a prefix, and the exact values.

    Texts are compared by their code points: nothing is decoded, normalized or resolved, here and in SQL
    (`tables.allowed`). So `/a/../b/` begins with `/a/`, and `/A/` does not.
    """

    prefixes: tuple[str, ...]
    """Each ends in `/`."""
    exact: frozenset[str]

    @classmethod
    def of(cls, patterns: tuple[str, ...]) -> Allowed:
        """From a list in which a pattern that ends in `/` is a prefix, and any other is exact."""
        return cls(
            tuple(one for one in patterns if one.endswith("/")),
            frozenset(one for one in patterns if not one.endswith("/")),
        )

    def has(self, value: str | None) -> bool:
        """Whether the value is allowed; an attribute that an event lacks is not."""
        return value is not None and (value in self.exact or value.startswith(self.prefixes))

    @property
    def in_words(self) -> str:
        """What is allowed, for people, shortened if it is much."""
        named = [*(f"those that begin with {one}" for one in self.prefixes), *sorted(self.exact)]
        more = [f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
        return ", ".join([*named[:MOST_NAMED], *more]) or "none"


class Grant(NamedTuple):
    """What a caller may touch. None: every value of that attribute."""

    sources: Allowed | None = None
    subjects: Allowed | None = None
    types: Allowed | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is anything that the caller may not touch."""
        return self != EVERYTHING


EVERYTHING = Grant()
"""`grant_of` gives this very object where nothing is limited, so that the usual question costs nothing."""
NOTHING = Grant(*[Allowed((), frozenset())] * 3)


def grant_of(sources: Allowed | None, subjects: Allowed | None, types: Allowed | None) -> Grant:
    """What a caller with these limits may touch."""
    grant = Grant(sources, subjects, types)
    return grant if grant.is_limited else EVERYTHING
