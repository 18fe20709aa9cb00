"""Arrays as parameters of statements, without asyncpg's expensive check of each element.

asyncpg asks of each element whether it is an array itself, as an instance of `collections.abc.Iterable`. That runs
Python code for each element; in a batch it took longer than the rest of encoding. The classes below are compared
directly. Anything else that is passed as an array raises asyncpg's error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from asyncpg.protocol import protocol

CONTAINERS = (list, tuple, set, frozenset)


def quicken(module: Any = protocol) -> None:
    """Replace the class for which asyncpg asks. A version of asyncpg that has no such name is only slower."""
    if getattr(module, "IterableABC", None) is Iterable:
        module.IterableABC = CONTAINERS
