"""Writes docs/settings.md from `app.settings` (make docs); a test compares the two."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from app.settings import Settings, allowed  # noqa: E402 - the path comes first

HEAD = """# Settings

Environment variables, or lines of `.env` in the folder where the worker starts; the environment wins. An empty value
counts as not set. A wrong value stops the worker at once, with a line that names the variable, the value and what is
allowed. This page is made from `app/settings.py` by `make docs`.

| variable | default | allowed |
| --- | --- | --- |
"""


def text() -> str:
    """The page."""
    rows = []
    for field, default in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True):
        shown = f"`{default}`" if default != "" else ""
        rows.append(f"| `{field.upper()}` | {shown} | {allowed(field)} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(text(), "utf-8")
