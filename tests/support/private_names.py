"""Which private names of libraries a file of the product uses, read from its syntax tree."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PRODUCT = ("headrace", "app", "agents", "tables", "web")
BY_NAME = frozenset({"getattr", "setattr", "hasattr", "delattr"})
# A named tuple's are documented, and begin with a line so that no member is called the same.
DOCUMENTED = frozenset({"_replace", "_asdict", "_fields", "_make", "_field_defaults"})


class Use(NamedTuple):
    """A private name that is used in a file."""

    room: str
    """The folder."""
    name: str
    place: str
    """As file:line."""


def uses(root: Path = ROOT) -> Iterator[Use]:
    """Every private name that is used, or defined, on an object that is not of the product's own class."""
    for top in PRODUCT:
        for file in sorted((root / top).rglob("*.py")):
            path = file.relative_to(root)
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for name, line in _names(tree, ".".join(path.with_suffix("").parts)):
                yield Use(path.parent.as_posix(), name, f"{path}:{line}")


def private_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The private names, with their lines, that stand after anything but self and cls, or are passed or imported."""
    for node in ast.walk(tree):
        for name in _of_others(node):
            if _is_private(name) and name not in DOCUMENTED:
                yield name, getattr(node, "lineno", 0)


def _of_others(node: ast.AST) -> list[str]:
    match node:
        case ast.Attribute(value=value, attr=name):
            return [] if _is_self(value) else [name]
        case ast.keyword(arg=str(name)):
            return [name]
        case ast.Call(func=ast.Name(id=function), args=[_, ast.Constant(value=str(name)), *_]) if function in BY_NAME:
            return [name]
        case ast.ImportFrom(module=module, names=names):
            return [*(module or "").split("."), *(alias.name for alias in names)]
        case ast.Import(names=names):
            return [part for alias in names for part in alias.name.split(".")]
    return []


def _names(tree: ast.Module, module: str) -> Iterator[tuple[str, int]]:
    yield from private_names(tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.bases:
            yield from inherited_names(node, getattr(importlib.import_module(module), node.name))


def inherited_names(node: ast.ClassDef, defined: type) -> Iterator[tuple[str, int]]:
    """The private names, with their lines, that a class uses of those above it that are not ours, or overrides."""
    ours = {name for base in defined.__mro__ if _is_ours(base) for name in members(base)}
    theirs = {name for base in defined.__mro__ if not _is_ours(base) for name in members(base)}
    for name, line in _own_names(node):
        if _is_private(name) and name not in DOCUMENTED and (name in theirs or name not in ours):
            yield name, line


@cache
def members(of: type) -> frozenset[str]:
    """The attributes of a class, and those that its methods set on an instance."""
    found = {*vars(of), *inspect.get_annotations(of)}
    if (written := _classes(of.__module__).get(of.__qualname__)) is not None:
        found |= {
            node.attr
            for node in ast.walk(written)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value)
        }
    return frozenset(found)


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module by name; none where it is not written in Python. `inspect` would parse it for each."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    if not file.endswith(".py"):
        return {}
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _own_names(node: ast.ClassDef) -> Iterator[tuple[str, int]]:
    for member in node.body:
        match member:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, member.lineno
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name, member.lineno
    for inner in ast.walk(node):
        match inner:
            case ast.Attribute(value=value, attr=name) if _is_self(value):
                yield name, inner.lineno


def _is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in {"self", "cls"}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def _is_ours(base: type) -> bool:
    return base.__module__.split(".")[0] in (*PRODUCT, "tests")
