"""The log calls of the product, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PRODUCT = ("headrace", "app", "agents", "tables", "web")
LOGS = {"log", "_log", "throttled", "_throttled"}
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# They make the lines that others ask for.
MACHINERY = {"headrace/process/action_log.py", "headrace/process/throttled_log.py"}


class LogCall(NamedTuple):
    """`log.method(action, text, …, **fields)`."""

    place: str
    method: str
    action: str | None
    """The name of the member of LogAction; None where it is something else."""
    text: str | None
    """The template; None where it is not a constant of the module."""
    fields: frozenset[str]


def calls_in(place: str, source: str) -> Iterator[LogCall]:
    """All log calls of a module."""
    module = ast.parse(source)
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Attribute(value=target, attr=method), args=arguments, keywords=keywords):
                if method in METHODS and _name(target) in LOGS:
                    yield LogCall(
                        f"{place}:{node.lineno}",
                        method,
                        _action(arguments[0]) if arguments else None,
                        _text(module, arguments[1]) if len(arguments) > 1 else None,
                        frozenset(one.arg or "**" for one in keywords),
                    )


def product_calls() -> list[LogCall]:
    """All log calls of the product."""
    paths = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]
    names = {path: path.relative_to(ROOT).as_posix() for path in paths}
    return [
        call
        for path, name in names.items()
        if name not in MACHINERY
        for call in calls_in(name, path.read_text("utf-8"))
    ]


def _name(target: ast.expr) -> str | None:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _action(argument: ast.expr) -> str | None:
    match argument:
        case ast.Attribute(value=ast.Name(id="LogAction"), attr=name):
            return name
    return None


def _text(module: ast.Module, argument: ast.expr) -> str | None:
    """The template, or what the name of it was last set to before the call."""
    match argument:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return next(reversed(list(_values(module, name, before=argument.lineno))), None)
    return None


def _values(module: ast.Module, name: str, *, before: int) -> Iterator[str]:
    found = [
        (node.lineno, node.value.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and [_name(target) for target in node.targets] == [name]
        and node.lineno < before
    ]
    yield from (text for _, text in sorted(found))
