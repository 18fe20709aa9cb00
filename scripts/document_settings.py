"""Writes docs/settings.md from `app.settings` (make docs); a test compares the two."""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from app.settings import Settings, allowed  # noqa: E402 - the path comes first

HEAD = """# Settings

Environment variables, or lines of `.env` in the folder where the worker starts; the environment wins. An empty value
counts as not set. A wrong value stops the worker at once, with a line that names the variable, the value and what is
allowed. This page is generated from `app/settings.py` and `app/setting_groups/` by `make docs`.

`DATABASE_URL…`, `MQTT_URL`, `KAFKA_SASL_PASSWORD` and `KAFKA_TOKEN_CLIENT_SECRET` are or hold secrets. For each of
them, the variable with `_FILE` at its end names a file with the value; one line break at the end of the file is
ignored. To set both a variable and its file is an error. No log line, error message or command shows a password, or the
user or another secret of an address.

| variable | default | what it does | allowed |
| --- | --- | --- | --- |
"""


def meanings(settings: type) -> dict[str, str]:
    """What each field of a class does: the string that follows it. A field without one is absent."""
    found: dict[str, str] = {}
    for base in settings.__bases__:
        if base.__module__.startswith("app."):
            found |= meanings(base)
    (class_,) = ast.parse(inspect.getsource(settings)).body
    assert isinstance(class_, ast.ClassDef)
    for field, text in pairwise(class_.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            assert isinstance(text.value, ast.Constant)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def text() -> str:
    """The text of docs/settings.md. Raises KeyError for a setting that does not say what it does."""
    meaning = meanings(Settings)
    rows = []
    for field, default in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True):
        shown = f"`{default}`" if default != "" else ""
        rows.append(f"| `{field.upper()}` | {shown} | {meaning[field]} | {allowed(field)} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(text(), "utf-8")
