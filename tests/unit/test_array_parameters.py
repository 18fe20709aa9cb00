"""What the product replaces in asyncpg: an upgrade that renames it fails here, and in use is only slower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from types import SimpleNamespace

from asyncpg.protocol import protocol

from tables.array_parameters import CONTAINERS, quicken


def test_asyncpg_has_the_class_that_is_replaced_and_those_beside_it() -> None:
    quicken()
    assert vars(protocol)["IterableABC"] == CONTAINERS
    assert (vars(protocol)["SizedABC"], vars(protocol)["MappingABC"]) == (Sized, Mapping)


def test_only_the_class_that_asyncpg_has_is_replaced() -> None:
    names = SimpleNamespace(IterableABC=Iterable)
    quicken(names)
    assert names == SimpleNamespace(IterableABC=CONTAINERS)
    other = SimpleNamespace(IterableABC=int)
    quicken(other)
    assert other == SimpleNamespace(IterableABC=int)
    without = SimpleNamespace()
    quicken(without)
    assert without == SimpleNamespace()
