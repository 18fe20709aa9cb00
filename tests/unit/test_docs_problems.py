"""docs/problems.md lists every code that the code base can answer with, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("headrace", "app", "agents", "tables", "web")
# Where a code is handed on under another name than `code`: `EnvelopeError(pointer, *wrong)` and the like.
HANDED_ON = (ast.Name, ast.Attribute, ast.Starred)


def modules() -> Iterator[ast.Module]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ast.parse(path.read_text("utf-8"), str(path))


def places_of_codes(module: ast.Module) -> dict[str, int]:
    """By function or class of a module: which of its arguments, counted from 0, is a code."""
    places: dict[str, int] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
            names = [argument.arg for argument in node.args.args if argument.arg != "self"]
            if "code" in names:
                places[node.name] = names.index("code")
        elif isinstance(node, ast.ClassDef) and (found := _place_in(node)) is not None:
            places[node.name] = found
    return places


def _place_in(node: ast.ClassDef) -> int | None:
    """The place among the fields, or among the arguments of `__init__`."""
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            names = [argument.arg for argument in one.args.args if argument.arg != "self"]
            return names.index("code") if "code" in names else None
    fields = [one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    return fields.index("code") if "code" in fields else None


def codes_in_calls() -> Iterator[str]:
    of_all = {name: place for module in modules() for name, place in places_of_codes(module).items() if name[0] != "_"}
    for module in modules():
        places = of_all | places_of_codes(module)
        for node in ast.walk(module):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name not in places:
                continue
            named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            at_place = node.args[places[name] : places[name] + 1]
            for value in named or at_place:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value
                else:
                    assert isinstance(value, HANDED_ON), f"write the code as it is: {ast.unparse(node)}"


def codes_in_types() -> Iterator[str]:
    """The members of `Code = Literal[…]`."""
    for module in modules():
        for node in module.body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["Code"]:
                for value in ast.walk(node.value):
                    if isinstance(value, ast.Constant):
                        yield str(value.value)


def test_every_code_is_listed_and_nothing_else() -> None:
    listed = re.findall(r"^\| `([a-z0-9_]+)` \|", (ROOT / "docs" / "problems.md").read_text("utf-8"), re.MULTILINE)
    known = {*codes_in_calls(), *codes_in_types()}
    assert len(known) > 50
    assert sorted(known - set(listed)) == [], "docs/problems.md lacks these codes: add a line for each"
    # What aiohttp refuses by itself is named after its status: see web.problems.refused.
    assert sorted(set(listed) - known - {"expectation_failed"}) == [], "docs/problems.md has codes that nothing answers"
    assert len(listed) == len(set(listed))
